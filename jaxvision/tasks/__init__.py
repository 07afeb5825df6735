"""The systems, a package each; `find_system` finds the one that a config names."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import Any

from jaxvision.errors import UserError
from jaxvision.task import Task


def find_task(config: Any, info: dict[str, Any]) -> Task:
    """`make(config, info)` of the package that `config.task` names.

    Raises:
      UserError: there is no such task.
    """
    return find_system(config.task).make(config, info)


def find_system(task: str) -> ModuleType:
    """The package of a system, with `make`, `make_report` and `make_predictor`.

    A name with a dot in it is an importable module of one's own (`mine.mean_colour`); any other is
    `jaxvision.tasks.<name>`.

    Raises:
      UserError: there is no such task, or what has its name is none.
    """
    name = task if "." in task else f"{__name__}.{task or '?'}"
    try:
        known = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of a parent package
        known = None
    if not known:
        systems = sorted(module.name for module in pkgutil.iter_modules(__path__))
        raise UserError(
            f"task={task!r} is unknown: use one of {', '.join(systems)}, or the dotted name "
            "of a module of yours"
        )
    system = importlib.import_module(name)
    missing = [f for f in ("make", "make_report", "make_predictor") if not hasattr(system, f)]
    if missing:
        raise UserError(
            f"task={task!r} is no system: it has no {', '.join(missing)}; docs/adding_a_system.md "
            "says what a system has"
        )
    return system
