"""How a config is kept: with absolute paths; read again, it lies over today's defaults."""

import importlib
import os
from typing import Any

from ml_collections import ConfigDict

from jaxvision.config.check import flatten, table_of
from jaxvision.console import say
from jaxvision.errors import UserError

# The file in configs/ that has every field of a system; of any other it is known what all share.
DEFAULTS = {
    "segmentation": "unet",
    "classification": "fer",
    "attention": "ram",
    "keypoints": "rat",
    "perception": "perception",
}
_told: set[str] = set()


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
    """The config with its paths as they are found from any folder; '~' is the home folder."""
    config, given = config.copy_and_resolve_references(), flatten(config)
    for path, field in table_of(given)[1].items():
        value = given.get(path)
        if field.kind == "path" and value and value not in field.choices:
            *sections, name = path.split(".")
            inner = config
            for section in sections:
                inner = inner[section]
            inner[name] = os.path.abspath(os.path.expanduser(value))
    return config


def over_defaults(saved: dict[str, Any], source: str) -> ConfigDict:
    """The saved fields, over today's defaults for those that came since; each change is told once.

    A field that is gone is left out, unless it may be of a system or reader of one's own.

    Args:
      saved: nested; tuples, no lists.
      source: where it was read, for messages.

    Raises:
      UserError: a value is not of the field's type.
    """
    task = saved.get("task")
    config = _defaults(DEFAULTS.get(task, "common") if isinstance(task, str) else "common")
    if config is None:  # configs/ is not at hand: as saved, which is checked like any other
        return ConfigDict(saved)
    known, given = flatten(config), flatten(saved)
    own, own_reader = task not in DEFAULTS, "." in str(given.get("data.reader"))
    for path, value in given.items():
        if path in known or own or (own_reader and path.startswith("data.")):
            _set(config, path, value, source)
        else:
            _tell(f"{source}: {path}={value!r} is no field any more: it is left out")
    for path in known:
        if path not in given:
            _tell(f"{source}: {path} came since then: {known[path]!r} is used")
    return config


def _defaults(name: str) -> ConfigDict | None:
    try:
        return importlib.import_module(f"configs.{name}").get_config()
    except ModuleNotFoundError:
        return None


def _set(config: ConfigDict, path: str, value: Any, source: str) -> None:
    *sections, name = path.split(".")
    try:
        for section in sections:
            if section not in config:
                config[section] = ConfigDict()
            config = config[section]
        config[name] = value
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{source}: {path}={value!r} cannot be: {error}") from error


def _tell(line: str) -> None:
    if line not in _told:
        _told.add(line)
        say(f"note: {line}")
