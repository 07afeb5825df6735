"""The loop of a runner: its workers' trials, new ones, and those that the dead left behind."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna
from ml_collections import ConfigDict
from optuna.trial import FrozenTrial, TrialState

from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.sweep import study as study_lib
from jaxvision.sweep.runners import Runner
from jaxvision.sweep.sampler import suggest
from jaxvision.sweep.space import Space, with_params
from jaxvision.sweep.trial import FAILED, OUTCOME, Outcome, Plan, Running

POLL = 0.5  # seconds between looks at the trials under way
LOOK = 5.0  # seconds between looks for trials that were left behind
TRIES = 200  # draws in a row whose values cannot be together
EARLY = 3  # failures with which a sweep ends that has had no success


class Sweep(NamedTuple):
    """What a runner works on.

    Attributes:
      plan: of every trial.
      config: that trials begin from.
      space, study: see there.
      trials: how many there shall be.
      workers: what the environment of each worker's processes adds.
      report: writes tables; called after every trial.
    """

    plan: Plan
    config: ConfigDict
    space: Space
    study: optuna.Study
    trials: int
    workers: Sequence[dict]
    report: Callable[[], None]


def work(sweep: Sweep, runner: Runner, stopped: list[int]) -> None:
    """Works until there is nothing left to do here, or a signal is in `stopped`.

    What is under way then saves; whoever comes first goes on with it.

    Raises:
      UserError: the first trials all failed, or no values can be together.
    """
    running: list[Running | None] = [None] * len(sweep.workers)
    # What had failed before this command is tried once more by it.
    again = {t.number for t in study_lib.counted(sweep.study) if t.user_attrs.get(FAILED)}
    looked, waiting = -LOOK, False
    try:
        while not stopped:
            _keep_alive(sweep, runner, running)
            for worker, trial in enumerate(running):
                if trial is not None and (outcome := trial.advance()) is not None:
                    running[worker] = None
                    again.discard(trial.trial.number)
                    _ended(sweep, trial, outcome)
            if None in running and time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                left = _fill(sweep, runner, running, again)
                if not left and not any(running):
                    return
                if not any(running) and not waiting:
                    waiting = True
                    say("waiting for a sign of the runners of other hosts, two minutes at most")
            elif None in running:
                _fill_new(sweep, runner, running)
            time.sleep(POLL)
    finally:
        _let_go([trial for trial in running if trial is not None])


def _let_go(running: list[Running]) -> None:
    for trial in running:
        trial.stop()
    for trial in running:
        trial.wait()
    for trial in running:
        trial.note_seconds()
        trial.trial.set_user_attr(study_lib.OWNER, "")


def _keep_alive(sweep: Sweep, runner: Runner, running: list[Running | None]) -> None:
    """Beats; gives up trials that others took while this process could not."""
    if not runner.beat():
        return
    for worker, trial in enumerate(running):
        if trial is None:
            continue
        now = study_lib.find(sweep.study, trial.trial.number)
        if now.user_attrs.get(study_lib.OWNER) != runner.name or now.state.is_finished():
            say(f"trial {now.number}: another runner has taken it over")
            trial.stop()
            trial.wait()
            running[worker] = None


def _fill(sweep: Sweep, runner: Runner, running: list[Running | None], again: set[int]) -> bool:
    """Gives free workers trials that were left behind, then new ones.

    Returns:
      whether there is, or may be, something left to do for this runner.
    """
    unknown = False
    mine = {trial.trial.number for trial in running if trial is not None}
    for found in study_lib.counted(sweep.study):
        if found.state != TrialState.RUNNING or found.number in mine:
            continue
        if found.user_attrs.get(FAILED) and found.number not in again:
            continue
        alive = runner.is_alive(found.user_attrs.get(study_lib.OWNER), found.number)
        unknown = unknown or alive is None
        if alive is False and None in running:
            _take(sweep, runner, running, found)
    return _fill_new(sweep, runner, running) or unknown


def _take(sweep: Sweep, runner: Runner, running: list[Running | None], found: FrozenTrial) -> None:
    trial = study_lib.take_over(sweep.study, runner, found)
    if trial is None:
        return
    params = suggest(trial, sweep.space)
    if _cannot_be(sweep, trial, params):
        return
    worker = running.index(None)
    running[worker] = Running(sweep.plan, trial, params, sweep.workers[worker])
    failed = found.user_attrs.get(FAILED)
    why = f", though it failed before ({failed})" if failed else ""
    say(f"trial {trial.number} goes on in {sweep.plan.trial_folder(trial.number)}{why}")
    trial.set_user_attr(FAILED, "")


def _fill_new(sweep: Sweep, runner: Runner, running: list[Running | None]) -> bool:
    """Gives free workers new trials while there shall be more; whether any was begun."""
    begun, tries = False, 0
    while None in running and len(study_lib.counted(sweep.study)) < sweep.trials:
        trial, params = study_lib.ask(sweep.study, runner, sweep.space)
        counted = study_lib.counted(sweep.study)
        if sum(t.number < trial.number for t in counted) >= sweep.trials:
            # Another host asked in the same moment.
            _pass_over(sweep, trial, "one more than asked for")
            continue
        if _cannot_be(sweep, trial, params):
            tries += 1
            if tries == TRIES:
                raise UserError(f"{TRIES} draws in a row cannot be: narrow the search")
            continue
        worker = running.index(None)
        running[worker] = Running(sweep.plan, trial, params, sweep.workers[worker])
        begun = True
        values = "  ".join(f"{name} {_short(value)}" for name, value in params.items())
        say(f"trial {trial.number} of {sweep.trials}: {values}")
    return begun


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cannot_be(sweep: Sweep, trial: optuna.Trial, params: dict) -> bool:
    try:
        with_params(sweep.config, params)
    except UserError as error:
        _pass_over(sweep, trial, str(error))
        return True
    return False


def _pass_over(sweep: Sweep, trial: optuna.Trial, reason: str) -> None:
    trial.set_user_attr(study_lib.PASSED_OVER, reason)
    sweep.study.tell(trial, state=TrialState.FAIL)


def _ended(sweep: Sweep, running: Running, outcome: Outcome) -> None:
    """Tells the study and the console; writes the tables."""
    trial, number = running.trial, running.trial.number
    running.note_seconds()
    if outcome.state is None:
        trial.set_user_attr(FAILED, outcome.told)
        trial.set_user_attr(study_lib.OWNER, "")
        say(f"trial {number} failed: {outcome.told}")
        _check_any_works(sweep)
    else:
        trial.set_user_attr(OUTCOME, outcome.kind)
        sweep.study.tell(trial, outcome.value, state=outcome.state, skip_if_finished=True)
        told = f"{outcome.kind}: {outcome.told}" if outcome.value is None else _score(sweep, trial)
        say(f"trial {number} {told}")
    sweep.report()


def _score(sweep: Sweep, trial: optuna.Trial) -> str:
    best = sweep.study.best_trial
    seeds = len(sweep.plan.seeds)
    value = study_lib.find(sweep.study, trial.number).value
    mean = f" (mean of {seeds} seeds)" if seeds > 1 else ""
    mark = "  best so far" if best.number == trial.number else f"  (best: trial {best.number})"
    return f"complete: val/{sweep.plan.metric} {value:.4g}{mean}{mark}"


def _check_any_works(sweep: Sweep) -> None:
    """Raises UserError where the first trials failed and none came to an end."""
    trials = study_lib.counted(sweep.study)
    failed = [t for t in trials if t.user_attrs.get(FAILED)]
    if len(failed) >= EARLY and not any(t.state.is_finished() for t in trials):
        raise UserError(
            f"the first {len(failed)} trials failed, the last with: "
            f"{failed[-1].user_attrs[FAILED]}; put this right, and the same command goes on"
        )
