"""Cards: what a data set is, as a record in `datasets/<name>.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ..errors import UsageError, unknown, wrong_field
from ..files import read_regular
from ..methods.plugins import registered
from ..spec import Frozen, Positive
from .vector_files import Vectors

# A card that a mirror brought along, kept beside the data that it describes (see `replacement`).
BESIDE = "card.toml"
MOST = 2**20  # bytes of a TOML file
TABLES = (".csv", ".tsv", ".parquet")

_ROOT = Path(__file__).resolve().parents[2]
# Not the folder alone: beside an installed package, `datasets/` is Hugging Face's.
_CHECKOUT = (_ROOT / "pyproject.toml").is_file() and (_ROOT / "datasets" / "README.md").is_file()


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


class Archive(Frozen):
    """A file that is downloaded, and unpacked when it is a tar or zip file."""

    name: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    url: str | None = Field(default=None, description="null: no public address is left, `where` says what people use")
    bytes: Annotated[int, Field(ge=0, le=2**62)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    into: str = Field(default=".", description="folder to unpack into, below the data folder")

    @field_validator("into")
    @classmethod
    def _below(cls, value: str) -> str:
        if not _inside(value):
            raise ValueError(f"{value!r} is not below the data folder")
        return value


class Counts(Frozen):
    """Images and classes that a split must hold; asserted on load."""

    images: Positive
    classes: Positive


class ImageTable(Frozen):
    """A table with a row an image, and what its columns are called."""

    file: Annotated[str, Field(pattern=r"\.(csv|tsv|parquet)$")]
    path: str = "path"
    label: str = "label"
    split: str = Field(
        "split", description="train, validation, test, query or gallery; without, half of the classes train"
    )


@dataclass(frozen=True)
class OwnImages:
    """Facts that only the owner of a folder or table of images can tell; each is an option."""

    columns: str | None = None
    """what the columns of a table of own images are called: path=NAME,label=NAME,split=NAME, or some of these"""
    closed: bool = False
    """own images may be searched for classes that are trained on, which is another task than all other data sets'"""
    unlabelled: bool = False
    """own images have no labels, or none that are to be used: measure how far a student finds its teacher's neighbours"""


NOTHING_SAID = OwnImages()


class Card(Frozen):
    """A data set: where it comes from, how it lies on disk, and how it is split and scored."""

    name: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]
    title: str
    licence: str = ""
    citation: str = ""
    layout: Literal["cub", "cars", "sop", "inshop", "glyphs", "folder", "vectors"]
    folder: str = Field(description="its own folder below the data folder; for own images also an absolute path")
    vectors: Vectors | None = Field(default=None, description="vectors: the files")
    table: ImageTable | None = Field(default=None, description="folder: a table in it that names the images")
    closed: bool = Field(default=False, description="whether test images may be of classes that are trained on")
    unlabelled: bool = Field(default=False, description="folder: labels are not there or not used")
    recall_at: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 8)
    counts: dict[Literal["train", "test", "query", "gallery"], Counts] = Field(default={}, description="by split")
    archives: tuple[Archive, ...] = ()
    where: str = Field(default="", description="what to do where an archive has no address")
    characters: str = Field(default="", description="glyphs: the only characters; empty: all")
    checksum: str = Field(default="", description="glyphs: SHA-256 of the pixels")
    pinned_with: dict[str, str] = Field(default={}, description="glyphs: versions of packages that the checksum is of")

    @model_validator(mode="after")
    def _unpackable(self) -> Card:
        if self.archives and not _inside(self.folder):
            raise ValueError(f"archives cannot be unpacked into {self.folder!r}, which is not below the data folder")
        if self.table is not None and self.layout != "folder":
            raise ValueError('[table] goes with layout = "folder"')
        if self.unlabelled and (self.layout != "folder" or self.closed):
            raise ValueError('unlabelled goes with layout = "folder", and not with closed')
        if (self.layout == "vectors") != (self.vectors is not None):
            raise ValueError('layout = "vectors" and [vectors] go together')
        if 1 not in self.recall_at:
            raise ValueError("recall_at wants a 1 among its numbers: every table has Recall@1")
        return self


def names() -> list[str]:
    """The suite's own data sets, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load_card(name_or_path: str, data_dir: Path | None = None, own: OwnImages = NOTHING_SAID) -> Card:
    """The card of a data set.

    Args:
        name_or_path: a name of the suite or of an installed package's entry point, a card's file (`.toml`), a folder of own images, or
            a table that names them.
        data_dir: the data folder; a card that lies beside the data there replaces the suite's own of the same name.
        own: what the owner of images says of them.

    Raises:
        UsageError: an unknown name, a path that does not exist, or something there that is none of these.
    """
    path = Path(name_or_path).expanduser()
    said = {"closed": own.closed, "unlabelled": own.unlabelled}
    if name_or_path in names():
        card = read_card(_folder() / f"{name_or_path}.toml")
    elif name_or_path in (others := registered("cards")):
        card = read_card(resources.files(others[name_or_path]) / f"{name_or_path}.toml")
    elif name_or_path.endswith(".toml") and path.is_file():
        card = read_card(path)
    elif name_or_path and path.is_dir():
        name = path.resolve().name
        fields = {"name": name, "title": f"images in {name}", "layout": "folder", "folder": str(path.resolve())}
        card = _validated({**fields, **said}, path.resolve())
    elif path.suffix in TABLES and path.is_file():
        fields = {"title": f"images in {path.name}", "layout": "folder", "folder": str(path.resolve().parent)}
        table = {"file": path.name, **_columns(own.columns)}
        card = _validated({"name": path.stem, **fields, "table": table, **said}, path.resolve())
    elif path.exists() or path.suffix or path.name != name_or_path:
        raise UsageError(
            f"{name_or_path}: there is no such folder of images, card (.toml) or table of images ({', '.join(TABLES)}); "
            "vectors are given by --features, and names are in benchmark list datasets"
        )
    else:
        raise unknown("data set", name_or_path, names())
    if own.columns is not None and card.table is None:
        raise UsageError(f"--columns: {name_or_path} is no table of images")
    for name, wanted in said.items():
        if wanted and not getattr(card, name):
            raise UsageError(f"--{name} is for own folders and tables, and {name_or_path} says itself what it is")
    return card if data_dir is None else replacement(card, data_dir)


def _columns(words: str | None) -> dict[str, str]:
    """`path=file,label=class` -> the names by what they are of."""
    pairs = [word.partition("=") for word in (words or "").split(",") if word]
    if wrong := [what for what, sign, name in pairs if what not in ("path", "label", "split") or not name]:
        raise UsageError(f"--columns wants path=NAME,label=NAME,split=NAME, or some of these, not {wrong[0]!r}")
    return {what: name for what, _, name in pairs}


def of_vectors(vectors: Vectors) -> Card:
    """The card that stands for files of own vectors, called as the student's file; paths relative to the working folder."""
    vectors = vectors.below(Path.cwd())
    file = vectors.features
    assert file is not None
    name = file.stem.lstrip(".") or "vectors"
    return Card(name=name, title=f"vectors in {file.name}", layout="vectors", folder=str(file.parent), vectors=vectors)


def read_toml(file: Path | Traversable, what: str) -> dict[str, Any]:
    """Read a TOML file, which is `what` to the user. Raises a UsageError where it cannot be read."""
    try:
        content = read_regular(file, MOST) if isinstance(file, Path) else file.read_bytes()
        return tomllib.loads(content.decode())
    except (OSError, ValueError) as error:  # what TOML and UTF-8 raise are ValueErrors
        raise UsageError(f"{file} cannot be read as {what}: {error}") from None


def read_card(file: Path | Traversable) -> Card:
    """The card in a TOML file.

    Raises:
        UsageError: not TOML, or not a card, with the file and the field.
    """
    content = read_toml(file, "a card")
    if content.get("layout") != "vectors":
        return _validated(content, file)
    if "folder" in content:
        raise UsageError(f"{file} is not a card: folder: the files in [vectors] are relative to the card's own folder")
    folder = Path(str(file)).absolute().parent
    card = _validated({**content, "folder": str(folder)}, file)
    assert card.vectors is not None
    return card.model_copy(update={"vectors": card.vectors.below(folder)})


def replacement(card: Card, data_dir: Path) -> Card:
    """The card that lies beside the data, when it is one of the same name; else `card` itself.

    A reduced copy of a data set brings a card with its own counts along, which holds for that copy wherever it is used.
    """
    beside = data_dir / card.folder / BESIDE
    if card.vectors is not None or not beside.is_file():
        return card
    other = read_card(beside)
    if other.name != card.name:
        return card
    marked = other.title if "reduced" in other.title.lower() else f"{other.title} (reduced or changed copy)"
    return other.model_copy(update={"title": marked})


def is_own(card: Card) -> bool:
    """Whether the suite has no such card: then not the name says what the data are, but their fingerprint."""
    return card.name not in names() or card != read_card(_folder() / f"{card.name}.toml")


def default_data_dir() -> Path:
    """The folder that holds `CUB_200_2011/` and so on: `datasets/` of a checkout, else a cache folder of the user."""
    if _CHECKOUT:
        return _ROOT / "datasets"
    import pooch  # slow, and needed for an installed package only

    return Path(pooch.os_cache("embedding-distillation-benchmark"))


def _folder() -> Traversable:
    return _ROOT / "datasets" if _CHECKOUT else resources.files("benchmark") / "_cards"


def _validated(content: object, source: object) -> Card:
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{source} is not a card: {wrong_field(error)}") from None
