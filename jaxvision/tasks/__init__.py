"""The systems, a package each; `find_task` finds the one that a config names."""

import importlib
import importlib.util
import pkgutil
from typing import Any

from jaxvision.errors import UserError
from jaxvision.task import Task


def find_task(config: Any, info: dict[str, Any]) -> Task:
    """`make(config, info)` of the package that `config.task` names.

    A name with a dot in it is an importable module of one's own (`mine.mean_colour`); any other is
    `jaxvision.tasks.<name>`.

    Raises:
      UserError: there is no such task.
    """
    name = config.task if "." in config.task else f"{__name__}.{config.task or '?'}"
    try:
        known = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of a parent package
        known = None
    if not known:
        systems = sorted(module.name for module in pkgutil.iter_modules(__path__))
        raise UserError(
            f"task={config.task!r} is unknown: use one of {', '.join(systems)}, or the dotted name "
            "of a module of yours"
        )
    return importlib.import_module(name).make(config, info)
