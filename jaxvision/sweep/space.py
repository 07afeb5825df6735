"""What is searched: `--search.FIELD=log:1e-4:1e-2`, and so on, against the fields of a config."""

import ast
import difflib
import itertools
import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from jaxvision.config import check
from jaxvision.config.fields import Field
from jaxvision.errors import UserError

FORMS = "log:1e-4:1e-2, float:0:1, int:1:8, choice:a,b or grid:a,b"
# What trials are compared by must be the same in all of them.
FIXED = ("checkpoint.best_metric", "checkpoint.higher_is_better")
COMBINATIONS = 500  # that are tried beforehand, of the choices and the ends of ranges


class Space(NamedTuple):
    """What is searched.

    Attributes:
      specs: {field: as given}.
      distributions: {field: Optuna's}; tuples are texts in it.
      grid: {field: values}, those given as grid:.
      own: {field: the config's own value}, of those that lie in their range.
    """

    specs: dict[str, str]
    distributions: dict[str, BaseDistribution]
    grid: dict[str, tuple]
    own: dict[str, Any]

    def points(self) -> int:
        """How many combinations the grid's values have; 1 without a grid."""
        return math.prod(map(len, self.grid.values()))

    def is_grid(self) -> bool:
        """Whether there is nothing to search beside the grid."""
        return len(self.grid) == len(self.distributions)

    def fixed(self, number: int) -> dict[str, Any]:
        """What is not for the sampler to choose in a trial: its point of the grid.

        In the first trial also the config's own values.
        """
        point, rest = {}, number
        for name, values in self.grid.items():
            rest, place = divmod(rest, len(values))
            point[name] = values[place]
        return {**(self.own if number == 0 else {}), **point}


def parse(specs: Mapping[str, str], config: ConfigDict) -> Space:
    """The search space of `--search` arguments.

    Args:
      specs: {field: 'log:1e-4:1e-2'}.
      config: that trials begin from.

    Raises:
      UserError: no such field, a range that is none, or a value that the field cannot have.
    """
    if not specs:
        raise UserError(
            f"nothing to search: give --search.FIELD=RANGE, RANGE one of {FORMS}, as "
            "--search.optimizer.learning_rate=log:1e-4:1e-2"
        )
    flat = check.flatten(config)
    _, table = check.table_of(flat)
    distributions, grid = {}, {}
    for path, spec in specs.items():
        if path in FIXED:
            raise UserError(f"--search.{path}: trials are compared by it, so it cannot be searched")
        if path not in flat:
            near = difflib.get_close_matches(path, flat, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise UserError(f"--search.{path}: no field of task {config.task!r}{hint}")
        distribution = _distribution(path, spec, flat[path], table.get(path))
        distributions[path] = distribution
        if spec.startswith("grid:"):
            grid[path] = distribution.choices
    own = {path: as_param(flat[path]) for path in specs if _holds(distributions[path], flat[path])}
    return Space(dict(specs), distributions, grid, own)


def _distribution(path: str, spec: str, own: Any, field: Field | None) -> BaseDistribution:
    form, _, rest = spec.partition(":")
    try:
        if form in ("choice", "grid"):
            values = [_value(text, own, field) for text in _split(rest)]
            distribution = CategoricalDistribution([as_param(value) for value in values])
            if len(set(distribution.choices)) < len(values):
                raise ValueError("a value is given twice")
        elif form in ("log", "float", "int"):
            distribution = _range(form, rest, own, field)
            values = [distribution.low, distribution.high]
        else:
            raise ValueError(f"give one of {FORMS}")
    except (ValueError, SyntaxError) as error:
        raise UserError(f"--search.{path}={spec!r} cannot be: {error}") from error
    for value in values if field else ():
        try:
            check.check_value(path, value, field)
        except UserError as error:
            raise UserError(f"--search.{path}={spec!r}: {error}") from error
    return distribution


def _range(form: str, rest: str, own: Any, field: Field | None) -> BaseDistribution:
    ends = rest.split(":")
    kind = field.kind if field and not field.many else type(own).__name__
    if kind not in ("whole", "number", "int", "float"):
        raise ValueError("only numbers have ranges: use choice:a,b")
    if len(ends) not in ((2, 3) if form != "log" else (2,)):
        raise ValueError(f"give {form}:low:high" + (" or with :step" if form != "log" else ""))
    whole = kind in ("whole", "int")
    if whole and form == "float":
        raise ValueError("a whole number: use int:low:high, or log:low:high")
    number = int if whole or form == "int" else float
    try:
        low, high, *step = (number(end) for end in ends)
    except ValueError:
        raise ValueError(f"{rest!r} is no {'whole ' if number is int else ''}numbers") from None
    if not low < high:
        raise ValueError("the low end must be below the high end")
    if form == "log" and low <= 0:
        raise ValueError("log needs ends above 0")
    if step and step[0] <= 0:
        raise ValueError("the step must be above 0")
    if number is int:
        return IntDistribution(low, high, log=form == "log", step=step[0] if step else 1)
    return FloatDistribution(low, high, log=form == "log", step=step[0] if step else None)


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str, own: Any, field: Field | None) -> Any:
    """A choice as the field's type."""
    if (field and field.many) or isinstance(own, (tuple, list)):
        return tuple(ast.literal_eval(text))
    if field and field.kind == "choice":
        return next((c for c in field.choices if str(c) == text), text)
    kind = field.kind if field else type(own).__name__
    if kind == "bool":
        known = {"true": True, "false": False}
        return known.get(text.lower(), text)
    try:
        if kind in ("whole", "int"):
            return int(text)
        if kind in ("number", "float"):
            return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no {'whole ' if kind[0] in 'wi' else ''}number") from None
    return text


def as_param(value: Any) -> Any:
    """A value as Optuna keeps it: tuples are texts."""
    return repr(tuple(value)) if isinstance(value, (tuple, list)) else value


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    value = as_param(value)
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high


def with_params(config: ConfigDict, params: Mapping[str, Any]) -> ConfigDict:
    """The config of a trial.

    Raises:
      UserError: the values cannot be together.
    """
    config = ConfigDict(config.to_dict())
    for path, value in params.items():
        *sections, name = path.split(".")
        section = config
        for part in sections:
            section = section[part]
        many = isinstance(section[name], (tuple, list))
        value = ast.literal_eval(value) if many else value
        with section.ignore_type():
            section[name] = value
    check.check(config)
    return config


def arguments(params: Mapping[str, Any]) -> list[str]:
    """The values of a trial as main.py takes them."""
    return [f"--config.{path}={value}" for path, value in params.items()]


def check_combinations(space: Space, config: ConfigDict) -> str:
    """Checks that the choices, and the ends of the ranges, can be together.

    Returns:
      a note, where some cannot; ''.

    Raises:
      UserError: a value cannot be with any of the others.
    """
    ends = {path: _ends(distribution) for path, distribution in space.distributions.items()}
    if math.prod(map(len, ends.values())) <= COMBINATIONS:
        tried = list(itertools.product(*ends.values()))
    else:
        rng = random.Random(0)
        tried = [tuple(rng.choice(values) for values in ends.values()) for _ in range(COMBINATIONS)]
    good, bad = set(), {}
    wrong = 0
    for values in tried:
        pairs = list(zip(ends, values, strict=True))
        try:
            with_params(config, dict(pairs))
            good.update(pairs)
        except UserError as error:
            wrong += 1
            bad.update(dict.fromkeys(pairs, error))
    for (path, value), error in bad.items():
        if (path, value) not in good:
            raise UserError(f"--search.{path}={space.specs[path]!r}: {value!r} cannot be: {error}")
    if not wrong:
        return ""
    told = next(iter(bad.values()))
    return f"{wrong} of {len(tried)} combinations cannot be and are passed over ({told})"


def _ends(distribution: BaseDistribution) -> tuple:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high
