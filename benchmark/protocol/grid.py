"""From a preset and what is set to the specs of all runs: the teacher, and every method x dimension x seed (x variant)."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from .. import methods
from ..data.cards import Card
from ..errors import UsageError, unknown, wrong_field
from ..spec import BY_NAME, ENSEMBLE, Scalar, Spec
from ..tuned import Settings, Tuned, settings_for
from .presets import Preset, layers

# What a run that is made of its teacher's embeddings has from it.
OF_TEACHER = ("backbone", "pretrained", "batchnorm", "precision")
_OF_UNTRAINED = (
    "method", "dataset", "data", "subset", "evaluation", "fold", "seed", "backbone", "pretrained", "dim", "normalize", "batchnorm",
    "resize", "fit", "image", "precision", "views",
)  # fmt: skip
_OF_JOINED = ("method", "dataset", "data", "subset", "evaluation", "fold", "seed", "backbone", "dim", "normalize")
_SHOWN = 60  # letters of a value in a message
Variants = Callable[[methods.Entry], Sequence[Settings]]


def parse_assignments(words: Sequence[str]) -> dict[str, Scalar]:
    """`["lr=3e-4", "rkd-da.angle_weight=1"]` -> values by key, typed as TOML would (true, 3, 1e-3, else text)."""
    result: dict[str, Scalar] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or not value:
            raise UsageError(f"--set wants KEY=VALUE, such as lr=3e-4, not {word!r}")
        result[key.strip()] = parse_scalar(value.strip())
    return result


def parse_scalar(text: str) -> Scalar:
    """The value that TOML would read: true, 3, 1e-3, else text. Raises a UsageError where it is a number that is not finite."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if not abs(value) <= sys.float_info.max:  # NaN is not
                raise UsageError(f"{text} is no value that can be trained with")
            return value
    return text


def split_key(key: str) -> tuple[str, str]:
    """`rkd-da.angle_weight` -> target and name; a key without a target has the empty one. The name may have a dot of its own: what is
    set of fitnet+rkd-da is its part's, `fitnet+rkd-da.rkd-da.angle_weight`. A sum has no order, and its name has one."""
    target, dot, name = key.partition(".")
    return ("+".join(sorted(target.split("+"))), name) if dot else ("", key)


def specs(
    preset: Preset,
    card: Card,
    *,
    chosen: Sequence[str],
    dims: Sequence[int],
    seeds: Sequence[int],
    assignments: Settings,
    stream: Settings,
    tuned: Mapping[str, Sequence[Tuned]],
    variants: Variants | None = None,
    generations: int = 0,
) -> list[Spec]:
    """All runs that the words of a command line stand for, teachers first.

    Args:
        assignments: `FIELD`, `teacher.FIELD` or `METHOD.FIELD`, where FIELD is a field of Spec or a hyper-parameter of the method;
            a list stands for one run a value.
        stream: fields that hold for every run, the teacher's too: dataset, data, subset, evaluation, views of own vectors.
        tuned: choices by method (`read_tuned`).
        variants: what is tried of a trained method: settings over all others, one student each (`tuning.Grid`, `tuning.RandomTrials`).
        generations: students have the teacher's size and teach the next generation, this many in all, with an ensemble of them, and so have
            the baselines beside them; 0: only methods that are between networks of one size do, for one generation.

    Raises:
        UsageError: a setting is none, or impossible; or nothing is left of a method.
    """
    below = layers(preset, card)
    by_target: defaultdict[str, Settings] = defaultdict(dict)  # "" for all students, "teacher", or a method's name
    for key, value in assignments.items():
        target, field = split_key(key)
        if target not in ("", "teacher"):
            methods.entry(target)
        by_target[target][field] = value
    given = ({**own, **by_target["teacher"], **stream} for own in below.teachers)
    teachers = list({teacher.id: teacher for teacher in map(_teacher, given)}.values())
    trunk = {"trunk": _spec({**below.trunk, **stream}, {})} if below.trunk else {}
    taught = any(methods.entry(name).needs_teacher for name in chosen)
    result = list(dict.fromkeys(teachers[seed % len(teachers)] for seed in seeds)) if taught else []
    for name in chosen:
        entry = methods.entry(name)
        low: Settings = {"normalize": entry.normalize, **below.shared, **below.student}
        high = {**preset.method.get(name, {}), **by_target[""], **by_target[name], **stream}
        base = {**low, **high}
        tried = variants(entry) if variants and entry.trains else [{}]
        # One form a combination of the values that are lists (milestones are a list by nature).
        lists = {key: value for key, value in base.items() if isinstance(value, list) and key != "milestones"}
        for values, variant, dim, seed in itertools.product(itertools.product(*lists.values()), tried, dims, seeds):
            form = dict(zip(lists, values, strict=True))
            # The dimension of what has no head is assigned: it is the features', not the students'.
            # Of nested embeddings one student has all dimensions.
            own = {"dim": max(dims) if entry.is_nested else dim, "seed": seed}
            chosen_for = settings_for({**own, **base, **form}, tuned.get(name, ())) or {}
            settings = {**own, **low, **chosen_for, **high, **form, **variant, "method": name}
            _check(settings, entry)
            made = _students(settings, teachers, trunk, entry, generations)
            if entry.is_nested and dim < made[-1].dim and not variants:
                made.append(_nested(made[-1], dim))
            result += made
        if not any(spec.method == name for spec in result):
            raise UsageError(f"{name}: the teacher's embedding has {teachers[0].dim} numbers, fewer than {min(dims)}")
    return list({spec.id: spec for spec in result}.values())


def _teacher(settings: Settings) -> Spec:
    """A run that teaches students of other seeds as well: of seed 0 unless teacher.seed says otherwise."""
    entry = methods.entry(settings["method"])
    if entry.kind != "none":
        raise UsageError(f"teacher.method={entry.name}: a teacher is trained by a task loss, and {entry.name} is none")
    return _spec(settings if entry.trains else _untrained(settings), {})


def _students(
    settings: Settings, teachers: Sequence[Spec], trunk: Settings, entry: methods.Entry, generations: int
) -> list[Spec]:
    """The runs of one setting of a method: one; none of a post-hoc one with more numbers than the teacher has; a chain of generations."""
    turn = settings["seed"] % len(teachers)
    teacher = teachers[turn]
    if settings.get("views") and "maps" in entry.needs:
        raise UsageError(f"{entry.name} reads feature maps, and features of a frozen trunk have none")
    # What neither trains nor draws is one run a teacher, whatever the seeds of the others.
    once = {} if entry.trains or entry.is_random else {"seed": turn if entry.needs_teacher else 0}
    if entry.is_posthoc:  # it reads what the teacher reads
        own = {name: getattr(teacher, name) for name in OF_TEACHER}
        whole = _spec(_untrained({**settings, **own, **once}), {"teacher": teacher})
        return [whole] if whole.dim <= teacher.dim else []
    taught = {"teacher": teacher} if entry.needs_teacher else {}
    if generations or entry.same_size:
        if settings.get("views"):
            raise UsageError(f"{entry.name}: heads on frozen features are not of the teacher's size")
        settings |= {name: getattr(teacher, name) for name in ("backbone", "pretrained", "dim", "hidden", "head")}
        trunk = {}
    if not entry.trains:
        return [_spec(_untrained({**settings, **once}), {**trunk, **taught})]
    chain = [_spec(settings, {**trunk, **taught})]
    if not (taught and generations > 1):
        return chain
    while len(chain) < generations:
        chain.append(_spec(settings, {"teacher": chain[-1]}))
    made = methods.entry(ENSEMBLE)
    fields = {key: value for key, value in settings.items() if key in Spec.model_fields}
    ensemble = {**fields, "method": made.name, "dim": generations * chain[-1].dim, "normalize": made.normalize}
    return [*chain, _spec(_untrained(ensemble), {"teacher": chain[-1]})]


def _nested(student: Spec, dim: int) -> Spec:
    """The first numbers of a student's embedding, as a run."""
    entry = methods.entry("truncate")
    fields = {name: getattr(student, name) for name in _OF_UNTRAINED}
    return _spec(_untrained({**fields, "method": entry.name, "dim": dim}), {"teacher": student})


def _untrained(settings: Settings) -> Settings:
    """Settings without what only training reads: an untrained network is one run, whatever the budget of the others."""
    kept = of_untrained(methods.entry(settings["method"]))
    if settings["backbone"].startswith(BY_NAME):  # which no setting of images changes
        kept = _OF_JOINED
    return {key: value for key, value in settings.items() if key in kept} | {"steps": 0}


def of_untrained(entry: methods.Entry) -> tuple[str, ...]:
    """The fields that a network has which is evaluated as it is."""
    return (*_OF_UNTRAINED, "hidden", "head") if entry.kind == "none" and entry.has_head else _OF_UNTRAINED


def _check(settings: Settings, entry: methods.Entry) -> None:
    """Raise a UsageError where a setting is neither a field of Spec nor a hyper-parameter of the method."""
    for key in settings:
        if key not in Spec.model_fields and key not in entry.defaults:
            raise unknown(f"setting (for {entry.name})", key, [*entry.defaults, *Spec.model_fields])


def _spec(settings: Settings, more: Settings) -> Spec:
    """A spec from flat settings: what is no field of Spec is a hyper-parameter of the method, and unknown otherwise."""
    entry = methods.entry(settings["method"])
    _check(settings, entry)
    fields = {key: value for key, value in settings.items() if key in Spec.model_fields}
    rest = {key: value for key, value in settings.items() if key not in Spec.model_fields}
    if isinstance(fields.get("milestones"), str | float):  # from the command line: 0.5,0.75
        fields["milestones"] = str(fields["milestones"]).split(",")
    try:
        params = methods.typed(entry.name, {**entry.defaults, **rest})
        named = {key: value for key, value in params.items() if key not in entry.later or value != entry.defaults[key]}
        return Spec(**fields, **more, params=named)
    except ValidationError as error:
        first = error.errors()[0]
        text = repr(first["input"])
        # What is wrong with several fields together names their values itself.
        given = f" (given: {text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'})" if first["loc"] else ""
        raise UsageError(f"{wrong_field(error)}{given}") from None
