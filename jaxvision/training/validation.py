"""Validation inside the training loop: its metrics, its figures, the best step so far."""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvision import evaluate, hosts
from jaxvision.console import headline, say, table
from jaxvision.input_pipeline import loader
from jaxvision.sharding import local, replicated
from jaxvision.training import optimizers
from jaxvision.training.run import Run
from jaxvision.training.train_state import TrainState, eval_variables


def condensed(run: Run, feed: loader.Feed, state: TrainState) -> loader.Feed:
    """The feed with what the task's frozen parts make of it, where the task asks for that."""
    if run.task.model.condense is None:
        return feed
    say(f"the frozen part of the model sees {feed.split.examples} examples once")
    variables = eval_variables(state, run.config.train.ema_decay)
    condense = jax.jit(run.task.model.condense)
    return loader.condensed(feed, lambda batch: condense(variables, batch), run.config.batch_size)


def make_validate(run: Run, opened: contextlib.ExitStack) -> Callable:
    """Returns validate(state, step, notes, log) -> (notes, score), on the validation split.

    The split is read for the first validation: no step need wait for it. What is kept from one
    validation to the next is closed with `opened`.
    """
    if "val" not in run.dataset.splits:
        return lambda state, step, notes, log: (notes, None)
    config, report = run.config, run.task.report
    size, kept = evaluate.batch_size(config), []

    def open_split(state):
        feed = loader.open_feed(run.dataset, "val", config, run.mesh)
        rows = evaluate.figure_rows(feed, config.eval.figure_rows) if hosts.first() else {}
        feed = condensed(run, feed, state)
        rounds = opened.enter_context(contextlib.closing(loader.EvalRounds(feed, size)))
        return feed, rows, rounds

    def validate(state, step, notes, log):
        if not kept:
            kept.extend(open_split(state))
        feed, rows, rounds = kept
        variables = eval_variables(state, config.train.ema_decay)
        measured = evaluate.measure(run.metrics, variables, feed, size, config.seed, rounds)
        return hosts.from_first(lambda: judge(local(variables), measured, step, notes, log, rows))

    def judge(variables, measured, step, notes, log, rows):
        fitted = report.fit(measured)
        values = report.metrics(measured, fitted)
        notes, score = _note_score(config, {**notes, "fitted": fitted}, values, step)
        names = headline(report.headline, config.checkpoint.best_metric)
        best = "  best so far" if score is not None and notes["best_step"] == step else ""
        say(f"val: {table(values, names)}  (step {step}){best}")
        log.metrics(step, {f"val/{name}": value for name, value in values.items()})
        drawn = evaluate.draw(report, variables, rows, config.seed, fitted)
        for name, image in {**drawn, **report.figures(measured, fitted)}.items():
            log.figure(step, name, image)
        return notes, score

    return validate


def _note_score(config: ConfigDict, notes: dict, values: dict, step: int) -> tuple[dict, Any]:
    """(notes, score) with the best score so far in the notes; NaN never is the best."""
    score = values.get(config.checkpoint.best_metric)
    sign = 1 if config.checkpoint.higher_is_better else -1
    best = notes["best_score"]
    known = score is not None and math.isfinite(score)
    if known and (best is None or sign * score > sign * best):
        notes = {**notes, "best_score": score, "best_step": step}
    return notes, score


def make_observe(run: Run) -> Callable:
    """Returns observe(opt_state, score) -> opt_state: what a validation does to the optimizer."""
    if run.config.optimizer.schedule != "plateau":
        return lambda opt_state, score: opt_state
    reduce = jax.jit(
        functools.partial(optimizers.observe_validation, run.config),
        out_shardings=replicated(run.mesh),
        donate_argnums=0,
    )

    def observe(opt_state, score):
        before, reduced = optimizers.plateau_scale(opt_state), reduce(opt_state, score)
        scale = optimizers.plateau_scale(reduced)
        if scale < before:
            say(f"plateau: the learning rate is now {scale:.3g} times its first value")
        return reduced

    return observe
