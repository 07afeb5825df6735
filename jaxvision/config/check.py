"""A config against `fields`: what cannot be is refused in one line, before anything starts."""

import difflib
import importlib.util
import math
import numbers
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision.config import fields
from jaxvision.config.fields import Field
from jaxvision.config.together import check_together
from jaxvision.errors import UserError


def check(config: ConfigDict) -> None:
    """Checks every field of a config, and those of several fields that must agree.

    A system of one's own (a `task` that `fields.TASKS` does not know) may have fields beside the
    shared ones, which are not looked at, and so may a reader of one's own under `data`.

    Raises:
      UserError: names the field, its value and what it may be.
    """
    given = flatten(config)
    own, table = table_of(given)
    for path, value in given.items():
        if path in table:
            check_value(path, value, table[path])
        elif not own and not (path.startswith("data.") and "." in str(given.get("data.reader"))):
            near = difflib.get_close_matches(path, table, n=1)
            raise UserError(
                f"{path}={value!r} is no field of task {given['task']!r}"
                + (f": did you mean {near[0]}?" if near else ": leave it out")
            )
    missing = [] if own else [path for path in table if path not in given]
    if missing:
        raise UserError(
            f"the config has no {missing[0]} ({table[missing[0]].meaning}): begin with the "
            "get_config() of configs/"
        )
    check_together(given)


def table_of(given: dict[str, Any]) -> tuple[bool, dict[str, Field]]:
    """Whether a flat config is of a system of one's own, and its known fields."""
    task = given.get("task")
    check_value("task", task, fields.COMMON["task"])
    known = _names(fields.SYSTEMS)
    if task not in known and not ("." in task and _importable(task)):
        raise UserError(
            f"task={task!r} is unknown: use one of {', '.join(known)}, or the dotted name of a "
            "module of yours that can be imported"
        )
    return task not in fields.TASKS, {**fields.COMMON, **fields.TASKS.get(task, {})}


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'train.steps': value} of a nested config."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, (ConfigDict, dict)):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def check_value(path: str, value: Any, field: Field) -> None:
    """Raises UserError where a field cannot have a value, with what it may be."""
    if value is None and field.none:
        return
    if field.many:
        wrong = not isinstance(value, (tuple, list)) or not all(_fits(v, field) for v in value)
        wrong = wrong or (field.lengths and len(value) not in field.lengths)
    elif field.kind == "reader":
        return _check_reader(path, value, field.choices or _names(fields.READERS))
    else:
        wrong = not _fits(value, field)
    if wrong:
        raise UserError(f"{path}={value!r} cannot be: give {describe(field)} ({field.meaning})")


def _fits(value: Any, field: Field) -> bool:
    if field.kind == "bool":
        return isinstance(value, bool)
    if field.kind in ("text", "path"):
        return isinstance(value, str)
    if field.kind == "choice":
        return not isinstance(value, bool) and value in field.choices
    whole = field.kind == "whole"
    if isinstance(value, bool) or not isinstance(
        value, numbers.Integral if whole else numbers.Real
    ):
        return False
    # NaN is on neither side of anything.
    inside = field.low <= value <= field.high and field.above < value < field.below
    return inside and (field.multiple == 1 or value % field.multiple == 0)


def describe(field: Field) -> str:
    """What a field may be, in words: 'a whole number of at least 1'."""
    if field.kind == "choice":
        words = f"one of {', '.join(repr(c) for c in field.choices)}"
    elif field.kind in ("bool", "text", "path"):
        words = {"bool": "True or False", "text": "a text", "path": "a path"}[field.kind]
    else:
        kind = "a whole number" if field.kind == "whole" else "a number"
        words = f"{kind} {_bounds(field)}"
        words += f", a multiple of {field.multiple}" if field.multiple > 1 else ""
    if field.many:
        count = f"{' or '.join(map(str, field.lengths))} values" if field.lengths else "values"
        words = f"a tuple of {count}, each {words}"
    return words


def _bounds(field: Field) -> str:
    low = f"above {field.above:g}" if math.isfinite(field.above) else f"from {field.low:g}"
    if math.isfinite(field.below):
        return f"{low} to below {field.below:g}"
    if field.high < 1e9:
        return f"{low} to {field.high:g}"
    return low if low.startswith("above") else f"of at least {field.low:g}"


def _names(folder: Path) -> tuple[str, ...]:
    """The modules in a folder."""
    return tuple(sorted(p.stem for p in folder.iterdir() if not p.name.startswith("_")))


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a parent package; of '..' and the like
        return False


def _check_reader(path: str, value: Any, known: tuple[str, ...]) -> None:
    if isinstance(value, str) and "." in value:
        if _importable(value):
            return
    elif value in known:
        return
    raise UserError(
        f"{path}={value!r} is unknown: use one of {', '.join(known)}, or the dotted name of a "
        "module of yours that can be imported"
    )
