"""A sweep from its command to its tables."""

import contextlib
import functools
import signal
from pathlib import Path

import optuna

from jaxvision.config.check import flatten
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.sweep import gpus, loop, processes, report
from jaxvision.sweep import space as space_lib
from jaxvision.sweep import study as study_lib
from jaxvision.sweep.check_metric import check_metric
from jaxvision.sweep.command import TRIALS, Command
from jaxvision.sweep.runners import Runner
from jaxvision.sweep.space import Space
from jaxvision.sweep.trial import Plan


def run_sweep(command: Command, stopped: list[int]) -> int:
    """Begins a sweep, joins it or goes on with it, as far as there is something to do.

    Args:
      command: what was asked for.
      stopped: signals that came.

    Returns:
      the exit code: 0, or 128 + the signal.

    Raises:
      UserError: it cannot work, or trials failed.
    """
    config = command.config
    space = space_lib.parse(command.search, config)
    if not processes.MAIN.exists():
        raise UserError(f"{processes.MAIN} is missing: sweeps run from a checkout (git clone)")
    note = space_lib.check_combinations(space, config)
    plan = _plan(command)
    study = _open(command, space, plan)
    if note:
        say(f"note: {note}")
    trials = _trials(command, space)
    workers = gpus.of_this_host(command.workers)
    _say_begin(plan, study, trials, len(workers))
    write = functools.partial(report.write, study, plan, space)
    sweep = loop.Sweep(plan, config, space, study, trials, workers, write)
    try:
        with contextlib.closing(Runner(study, plan.folder)) as runner:
            loop.work(sweep, runner, stopped)
    except optuna.exceptions.StorageInternalError as error:
        told = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"the study's database fails ({told}); the same command goes on") from error
    write()
    if stopped:
        say(
            f"{signal.Signals(stopped[0]).name}: what was under way is saved; the same command "
            "goes on"
        )
        return 128 + stopped[0]
    report.finish(study, plan, space)
    return 0


def _plan(command: Command) -> Plan:
    metric = command.config.checkpoint.best_metric
    if not metric:
        raise UserError(
            "checkpoint.best_metric is empty: trials are compared by it; name one, as "
            "--config.checkpoint.best_metric=accuracy"
        )
    first = command.config.seed
    return Plan(
        folder=Path(command.workdir),
        arguments=tuple(command.config_arguments),
        metric=metric,
        higher_is_better=command.config.checkpoint.higher_is_better,
        seeds=tuple(range(first, first + command.seeds)),
    )


def _open(command: Command, space: Space, plan: Plan) -> optuna.Study:
    """The study; a new one only once data and metric are known to be right."""
    open_study = functools.partial(
        study_lib.open_study,
        plan.folder,
        command.storage,
        "maximize" if plan.higher_is_better else "minimize",
        space,
        command.config.seed,
        command.prune,
    )
    known = bool(command.storage) or (plan.folder / study_lib.JOURNAL).exists()
    study = open_study() if known else None
    if study is None or not study_lib.is_begun(study):
        say("looking at data and metric")
        check_metric(command.config_arguments)
        study = study or open_study()
    study_lib.check_identity(study, _identity(command, space))
    return study


def _identity(command: Command, space: Space) -> dict:
    """What must stay the same over all commands of a sweep."""
    search = {f"search.{name}": spec for name, spec in space.specs.items()}
    return {**flatten(command.config), **search, "seeds": command.seeds, "prune": command.prune}


def _trials(command: Command, space: Space) -> int:
    """How many there shall be."""
    if not space.is_grid():
        return command.trials or TRIALS
    return min(command.trials or space.points(), space.points())


def _say_begin(plan: Plan, study: optuna.Study, trials: int, workers: int) -> None:
    done = sum(t.state.is_finished() for t in study_lib.counted(study))
    best = "highest" if plan.higher_is_better else "lowest"
    seeds = f", {len(plan.seeds)} seeds each" if len(plan.seeds) > 1 else ""
    say(
        f"{plan.folder}: {trials} trials{seeds}, {done} done; the {best} val/{plan.metric} counts; "
        f"{workers} at a time"
    )
