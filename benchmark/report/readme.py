"""Tables of finished runs in a Markdown file that is otherwise written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write_atomically
from .render import markdown

if TYPE_CHECKING:
    from .write import Folder

# Not over the next beginning: what stands between would be lost where an end is missing.
_PART = re.compile(r"(<!-- generated: (\S+)/(\S+) -->\n)(?:(?!<!-- generated:).)*?(<!-- end -->)", re.DOTALL)


def update(path: Path, folders: Sequence[Folder]) -> None:
    """Make anew what stands between `<!-- generated: cars/heads -->` and `<!-- end -->`: the answer and the Recall@1 table.

    Raises:
        UsageError: the file has no such part, or names a folder that has no runs.
    """
    documents = {(made.dataset, made.preset): made for made in (folder.document for folder in folders if folder.runs)}
    before = path.read_text(encoding="utf-8")

    def make(match: re.Match[str]) -> str:
        made = documents.get((match[2], match[3]))
        if made is None:
            raise UsageError(f"{path} wants {match[2]}/{match[3]}, which has no runs")
        return f"{match[1]}\n**{made.answer}**\n\n{markdown(made.tables[0])}\n{match[4]}"

    after, parts = _PART.subn(make, before)
    if parts < before.count("<!-- generated:"):
        raise UsageError(f"{path}: a generated part has no <!-- end -->, or no DATASET/PRESET")
    if not parts:
        raise UsageError(f"{path} has no part that is generated: <!-- generated: DATASET/PRESET --> ... <!-- end -->")
    write_atomically(path, after)
