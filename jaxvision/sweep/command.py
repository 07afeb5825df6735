"""The sweep's command line."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxvision.config.arguments import as_user_errors
from jaxvision.config.check import check
from jaxvision.errors import UserError

PRUNERS = ("median", "hyperband", "none")
TRIALS = 20
HELP = """\
Searches the fields of a config for the best values: every trial is a main.py of its own.

  python -m jaxvision.sweep --config=configs/rat.py --workdir=workdir/sweep --workers=2 \\
      --search.optimizer.learning_rate=log:1e-4:1e-2 --search.model.name=choice:heatmap,coordinate

The same command again goes on, also after a crash; on further hosts with the same folder, or the
same --storage, it joins. Every argument is --name=value:

  --config=FILE[:VARIANT]  --config.FIELD=VALUE  as for main.py
  --workdir=FOLDER         of the study, its tables, and trials/<number>/
  --search.FIELD=RANGE     log:1e-4:1e-2 | float:0:1 | int:1:8 (float and int also with :step)
                           | choice:a,b | grid:a,b,c (all combinations, one after the other)
  --trials=N               how many in all, over all hosts. Default: 20, or all points of a grid
  --workers=N              trials at a time on this host, which share its GPUs.
                           Default: one a GPU; 1 without
  --seeds=N                runs of each trial; their mean counts. Default: 1
  --prune=RULE             median | hyperband | none: when a trial is stopped early. Default: median
  --storage=ADDRESS        of a database, as postgresql+psycopg://user@host/name.
                           Default: a journal file in the folder

docs/sweeps.md has more.
"""


class Command(NamedTuple):
    """What was asked for.

    Attributes:
      config: that trials begin from, checked.
      config_arguments: as they were given, for main.py.
      search: {field: range}.
      workdir, trials, workers, seeds, prune, storage: see HELP; trials and workers 0: the default.
    """

    config: ConfigDict
    config_arguments: list[str]
    search: dict[str, str]
    workdir: str
    trials: int
    workers: int
    seeds: int
    prune: str
    storage: str


def parse(argv: Sequence[str]) -> Command:
    """The command of a program's arguments, without its name.

    Raises:
      UserError: an unknown argument, field or value.
    """
    config_arguments, search, rest = [], {}, []
    for argument in argv:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and not equals:
            raise UserError(f"{argument}: every argument is --name=value")
        if name == "config" or name.startswith("config."):
            config_arguments.append(argument)
        elif name.startswith("search."):
            field = name.removeprefix("search.")
            if field in search:
                raise UserError(f"--search.{field} is given twice")
            search[field] = value
        else:
            rest.append(argument)
    own = _own(rest)
    config = parse_config(config_arguments)
    for argument in config_arguments:
        field = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        if field in search:
            raise UserError(
                f"{field} is both set (--config) and searched (--search): leave one out"
            )
    if own.seeds > 1 and "seed" in search:
        raise UserError("--search.seed and --seeds: leave one out")
    return Command(config, config_arguments, search, **vars(own))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(message)


def _own(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir", default="")
    for name, default in (("trials", 0), ("workers", 0), ("seeds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prune", choices=PRUNERS, default="median")
    parser.add_argument("--storage", default="")
    own = parser.parse_args(argv)
    if not own.workdir:
        raise UserError("no --workdir given: name the sweep's folder, as --workdir=workdir/sweep")
    for name, low in (("trials", 0), ("workers", 0), ("seeds", 1)):
        if getattr(own, name) < low:
            raise UserError(f"--{name}={getattr(own, name)} cannot be: give a number from {low}")
    return own


def parse_config(arguments: Sequence[str]) -> ConfigDict:
    """The config of --config arguments, checked.

    Raises:
      UserError: none is given, or it cannot be.
    """
    if not any(argument.lstrip("-").startswith("config=") for argument in arguments):
        raise UserError("no --config given: name a config, as --config=configs/rat.py")
    values, argv = flags.FlagValues(), ["sweep", *arguments]
    with as_user_errors():
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        values(argv)
        values.config.lock()
    check(values.config)
    return values.config


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return any(arg in ("--help", "-h", "-help", "--helpfull") for arg in argv)
