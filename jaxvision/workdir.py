"""The run's folder: its config, its lock, and which changes of config a resumed run allows."""

import contextlib
import fcntl
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision import hosts
from jaxvision.cache import cache_dir
from jaxvision.config.check import flatten
from jaxvision.config.saved import over_defaults, with_absolute_paths
from jaxvision.errors import UserError

# What a run may change when it is resumed: how long it goes on, how often it reports and saves,
# how the same batches reach the device, and how its results are used. Ends with '.': all below it.
RESUME_MAY_CHANGE = (
    "train.epochs",
    "train.steps",
    "train.steps_per_call",
    "data.path",  # moved data: the examples must be the same, which the checkpoint's notes tell
    "data.resident",
    "data.resident_gib",
    "data.workers",
    "eval.",
    "checkpoint.every_steps",
    "checkpoint.keep_every_steps",
    "log.",
    "early_stop_epochs",
    "predict.",
)
FINISHED = "finished.json"
BEGUN = "begun"  # the entry of config.json that is no field of the config


def keep_compiled_programs() -> None:
    """Has XLA keep what it compiles, in the cache folder or $JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", os.fspath(cache_dir() / "xla"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Those that compile within a second, too: a start has dozens of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` so that a crash leaves the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)


def read_config(workdir: str) -> ConfigDict:
    """The config that a run was begun with, over today's defaults for fields that came since.

    Raises:
      UserError: the folder or its config.json is missing or not readable.
    """
    path = Path(workdir) / "config.json"
    if not path.parent.is_dir():
        raise UserError(
            f"workdir {workdir!r} does not exist: check the path, or begin a run with --config"
        )
    if not path.exists():
        raise UserError(
            f"workdir {workdir!r} holds no config.json: begin a run there with --config"
        )
    try:
        fields = json.loads(path.read_text())
    except (ValueError, OSError) as error:  # UnicodeDecodeError is a ValueError
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid JSON ({reason}): restore it or begin anew") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} holds no config, but {fields!r:.40}: restore it or begin anew")
    fields.pop(BEGUN, None)
    return as_config(fields, path)


def as_config(fields: dict[str, Any], path: Path) -> ConfigDict:
    """A config out of the JSON file `path`, over today's defaults for fields that came since."""
    return over_defaults(_tuples(fields), os.fspath(path))


def _tuples(value: Any) -> Any:
    """JSON has no tuples; configs have no lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def begin(config: ConfigDict, workdir: str) -> None:
    """Writes config.json: from here on there is a run in `workdir`.

    Beside the config it tells, under BEGUN, what ran: command, commit and versions of packages.
    """
    begun = {"command": sys.argv, "commit": _commit(), "versions": _versions()}
    write_json(Path(workdir) / "config.json", {**config.to_dict(), BEGUN: begun})


def _commit() -> str | None:
    """The commit of the code, with '+' where files differ from it; None outside a checkout."""
    git = functools.partial(
        subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True
    )
    try:
        commit = git(["git", "rev-parse", "HEAD"])
        changed = git(["git", "status", "--porcelain", "--untracked-files=no"])
    except OSError:  # no git
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("jaxvision", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def check_same_run(config: ConfigDict, workdir: str) -> bool:
    """Checks that `config` goes on with the run in `workdir`; whether one was begun there.

    Its paths are absolute; those of an older run may have been kept as they were given.

    Raises:
      UserError: model, data, optimizer or seed differ from those that the run was begun with.
    """
    path = Path(workdir) / "config.json"
    if path.exists():
        kept = with_absolute_paths(read_config(workdir))
        differing = _differences(kept.to_dict(), config.to_dict())
        refused = [d for d in differing if not d.startswith(RESUME_MAY_CHANGE)]
        if refused:
            raise UserError(
                f"{workdir} was begun with another config ({'; '.join(refused)}): "
                "use these values, or another --workdir"
            )
    return path.exists()


def check_same_config(config: ConfigDict) -> None:
    """Checks that all processes were begun with one config; where their data lie may differ.

    Raises:
      UserError: they were not.
    """
    told = [json.loads(text) for text in hosts.gather(json.dumps(config.to_dict()))]
    for i, other in enumerate(told):
        differing = [d for d in _differences(told[0], other) if not d.startswith("data.path:")]
        if differing:
            told_of = differing[0].replace(" then,", f" in {hosts.name(0)},")
            raise UserError(
                f"{hosts.name(i)} has another config ({told_of.removesuffix(' now')} in it): give "
                "the same arguments on every host"
            )


def has_finished(config: ConfigDict, workdir: str, test: bool) -> bool:
    """Whether the run was trained, drawn and (`test`) tested for as long as `config` says."""
    folder = Path(workdir)
    try:
        noted = dict(json.loads((folder / FINISHED).read_text()))
    except (OSError, ValueError, TypeError):
        return False
    if not noted.pop("test", True) and test:
        return False
    return noted == _length(config) and any((folder / "checkpoints").glob("[0-9]*"))


def note_finished(config: ConfigDict, workdir: str, test: bool) -> None:
    """Remembers for `has_finished` that all was done, or all but the test."""
    left = {} if test else {"test": False}
    write_json(Path(workdir) / FINISHED, {**_length(config), **left})


def _length(config: ConfigDict) -> dict[str, Any]:
    """What decides when a run is over."""
    train = {f"train.{name}": config.train[name] for name in ("epochs", "steps")}
    return {**train, "early_stop_epochs": config.early_stop_epochs}


def overrides(config: ConfigDict, saved: ConfigDict) -> dict[str, Any]:
    """{field: value} in which a config differs from the one that was saved with the model."""
    own, given = flatten(saved), flatten(config)
    return {name: value for name, value in given.items() if own.get(name) != value}


def check_same_model(config: ConfigDict, saved: ConfigDict, folder: str) -> None:
    """Checks that `config` describes the model in a folder, whose own config is `saved`.

    Raises:
      UserError: it does not; the message names the keys.
    """
    differing = _differences(saved.to_dict(), config.to_dict())
    wrong = [line for line in differing if line.startswith(("task:", "model."))]
    if wrong:
        raise UserError(
            f"{folder} holds another model ({'; '.join(wrong)}): leave these fields as they were"
        )


def _differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b, name = old.get(key, "absent"), new.get(key, "absent"), prefix + key
        if isinstance(a, dict) and isinstance(b, dict):
            lines += _differences(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} then, {b!r} now")
    return lines


@contextlib.contextmanager
def lock(workdir: str) -> Iterator[None]:
    """Holds the workdir for this process; the lock goes with the process, however it ends.

    A folder that was made for a run which then could not begin is removed again.

    Raises:
      UserError: another live process trains here, the folder cannot be made, or not all processes
        of this program see it.
    """
    if not hosts.first():  # process 0 holds it for all
        hosts.check_shared(workdir)
        yield
        return
    folder = Path(workdir)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "a+")  # noqa: SIM115 (held until the block ends)
    except OSError as error:
        raise UserError(f"cannot write to workdir {workdir!r}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UserError(
                f"{workdir} is in use by process {handle.read().strip() or '?'}: "
                "wait for it, stop it, or use another --workdir"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        try:
            hosts.check_shared(workdir)
            yield
        finally:
            if made and not (folder / "config.json").exists():
                shutil.rmtree(folder)
