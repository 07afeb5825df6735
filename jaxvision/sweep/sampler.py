"""Which values a trial has: its point of the grid, the config's own, or what Optuna suggests."""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler

from jaxvision.sweep.space import Space

RANDOM_TRIALS = 5  # before there is enough to learn from


class Sampler(BaseSampler):
    """Tree-structured Parzen estimators (Bergstra et al. 2011) beside grid and own values.

    Random numbers follow from the seed and the trial's number, whichever process asks: after a
    restart, or from another host, no trial is drawn twice.
    """

    def __init__(self, space: Space, seed: int):
        self.space, self.seed = space, seed
        self.number, self.tpe = -1, None

    def _tpe(self, trial: optuna.trial.FrozenTrial) -> TPESampler:
        if self.number != trial.number:
            words = np.random.SeedSequence((self.seed, trial.number)).generate_state(1)
            self.tpe = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=int(words[0]))
            self.number = trial.number
        return self.tpe

    def infer_relative_search_space(self, study, trial) -> dict[str, BaseDistribution]:
        """What is drawn together: all but what is fixed."""
        fixed = self.space.fixed(trial.number)
        found = self._tpe(trial).infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in found.items() if name not in fixed}

    def sample_relative(self, study, trial, search_space) -> dict[str, Any]:
        """Values of `search_space`, drawn together."""
        return self._tpe(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution) -> Any:
        """One value."""
        fixed = self.space.fixed(trial.number)
        if param_name in fixed:
            return fixed[param_name]
        return self._tpe(trial).sample_independent(study, trial, param_name, param_distribution)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """The values of a trial, {field: value}; those that it already has stay."""
    values = {}
    for name, d in space.distributions.items():
        if isinstance(d, CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, d.choices)
        elif isinstance(d, FloatDistribution):
            values[name] = trial.suggest_float(name, d.low, d.high, log=d.log, step=d.step)
        else:
            values[name] = trial.suggest_int(name, d.low, d.high, log=d.log, step=d.step)
    return values


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """What decides that a trial is hopeless: 'median', 'hyperband' or 'none'.

    Its resource is the number of validations; the first of a run decides nothing.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS - 1, n_warmup_steps=2)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=2)
    return optuna.pruners.NopPruner()
