"""A trial under way: the runs of its seeds, one after the other, watched by their validations."""

import math
import signal
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from jaxvision.console import say
from jaxvision.sweep import processes
from jaxvision.sweep.scores import best_so_far, validations
from jaxvision.sweep.space import arguments

SCORES, HOPELESS, OUTCOME, SECONDS = "scores", "hopeless", "outcome", "seconds"
FAILED = "failed"  # further keys of what a trial is noted with
GRACE = 300.0  # seconds that a process has to save after it was told to stop


class Plan(NamedTuple):
    """What all trials of a sweep share.

    Attributes:
      folder: the sweep's.
      arguments: of main.py: --config and what is overridden in every trial.
      metric: without 'val/'.
      higher_is_better: of it.
      seeds: of each trial's runs.
    """

    folder: Path
    arguments: Sequence[str]
    metric: str
    higher_is_better: bool
    seeds: Sequence[int]

    def trial_folder(self, number: int) -> Path:
        """Where a trial is; with one seed, its run's workdir."""
        return self.folder / "trials" / str(number)

    def workdir(self, number: int, seed: int) -> Path:
        """Of one run of a trial."""
        folder = self.trial_folder(number)
        return folder if len(self.seeds) == 1 else folder / f"seed_{seed}"


class Outcome(NamedTuple):
    """How a trial ended.

    Attributes:
      state: Optuna's; None: it failed, and the same command tries it again.
      kind: 'complete', 'stopped early', 'diverged' or 'failed'.
      told: more, for a line.
      value: the mean of the seeds' best validations; None where it was not run to its end.
    """

    state: TrialState | None
    kind: str
    told: str = ""
    value: float | None = None


class Running:
    """A trial that this runner has under way."""

    def __init__(
        self, plan: Plan, trial: optuna.Trial, params: Mapping[str, Any], environment: dict
    ):
        """Args: the plan, the trial and its values, what its processes' environment adds."""
        self.plan, self.trial, self.params, self.environment = plan, trial, params, environment
        self.scores = list(trial.user_attrs.get(SCORES, []))
        self.hopeless = trial.user_attrs.get(HOPELESS, "")
        frozen = trial.study.get_trials(deepcopy=False)[trial.number]
        self.reported = max(frozen.intermediate_values, default=0)
        self.process: subprocess.Popen | None = None
        self.restarts = processes.Restarts()
        self.told_at = 0.0  # when it was told to stop
        self.seconds, self.started = trial.user_attrs.get(SECONDS, 0.0), time.monotonic()

    @property
    def seed(self) -> int:
        """Of the run that is under way."""
        return self.plan.seeds[len(self.scores)]

    @property
    def workdir(self) -> Path:
        """Of the run that is under way."""
        return self.plan.workdir(self.trial.number, self.seed)

    def advance(self) -> Outcome | None:
        """Looks at the run and does what is due; how the trial ended, once it has."""
        if self.process is None:
            return self._start()
        code = self.process.poll()
        self._report(alive=code is None)
        if code is not None:
            self.process = None
            return self._ended(code)
        if self.told_at and time.monotonic() - self.told_at > GRACE:
            self.process.kill()
        return None

    def stop(self, by: int = signal.SIGINT) -> None:
        """Asks the process to save and end.

        A sweep that ends does so by SIGINT: schedulers send SIGTERM to every process of a job, and
        a second one would end training before it has saved.
        """
        if self.process is not None and not self.told_at:
            self.process.send_signal(by)
            self.told_at = time.monotonic()

    def wait(self) -> None:
        """Returns when the process has ended, after `stop`."""
        if self.process is None:
            return
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def note_seconds(self) -> None:
        """Keeps how long this runner had the trial."""
        self.trial.set_user_attr(SECONDS, self.seconds + time.monotonic() - self.started)

    def _start(self) -> Outcome | None:
        if self.hopeless:
            return Outcome(TrialState.PRUNED, "stopped early", self.hopeless)
        if len(self.scores) == len(self.plan.seeds):  # the last runner died before it could tell
            return self._complete()
        given = [*self.plan.arguments, *arguments(self.params)]
        # A seed that is searched is among the values.
        seed = [] if "seed" in self.params else [f"--config.seed={self.seed}"]
        try:
            self.process = processes.start(
                self.workdir, [*given, *seed, "--test=false"], self.environment
            )
        except OSError as error:
            return Outcome(None, "failed", f"{error.filename or self.workdir}: {error.strerror}")
        return None

    def _report(self, alive: bool) -> None:
        """Tells the study of new validations of the first seed; stops the run if it is hopeless."""
        if self.scores or self.hopeless:
            return
        values = validations(self.workdir, self.plan.metric)
        best = best_so_far(values, self.plan.higher_is_better)
        for number in range(self.reported + 1, len(best) + 1):
            self.trial.report(best[number - 1], number)
            self.reported = number
            if alive and self.trial.should_prune():
                self.hopeless = f"after {number} validations, the best {best[number - 1]:.4g}"
                # Before the signal: if this runner is killed now, the next one knows.
                self.trial.set_user_attr(HOPELESS, self.hopeless)
                return self.stop(signal.SIGTERM)

    def _ended(self, code: int) -> Outcome | None:
        if self.hopeless:
            return Outcome(TrialState.PRUNED, "stopped early", self.hopeless)
        line = processes.last_line(self.workdir)
        if code == 0:
            return self._scored()
        if code == 1 and line.startswith("stopped: "):
            return Outcome(TrialState.PRUNED, "diverged", line.removeprefix("stopped: "))
        if processes.was_stopped(code) and self.restarts.allowed(self.workdir):
            say(f"trial {self.trial.number}: its process was killed ({code}); it goes on")
            return None
        told = line.removeprefix("error: ") if code == 2 else f"main.py ended with {code}: {line}"
        return Outcome(None, "failed", told)

    def _scored(self) -> Outcome | None:
        values = validations(self.workdir, self.plan.metric)
        best = best_so_far(values, self.plan.higher_is_better)
        if not best or not math.isfinite(best[-1]):
            told = f"val/{self.plan.metric} was never finite"
            return Outcome(TrialState.PRUNED, "diverged", told)
        self.scores.append(best[-1])
        self.trial.set_user_attr(SCORES, self.scores)
        if len(self.scores) < len(self.plan.seeds):
            self.restarts = processes.Restarts()
            return None
        return self._complete()

    def _complete(self) -> Outcome:
        return Outcome(TrialState.COMPLETE, "complete", value=statistics.mean(self.scores))
