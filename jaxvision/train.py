"""The training loop: every system's, and the only one."""

import collections
import contextlib
import functools
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision import divergence, evaluate, logs, optimizers, wandb_log
from jaxvision import workdir as workdir_lib
from jaxvision.console import headline, say, table
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.run import Run, make_optimizer, prepare, start
from jaxvision.sharding import batch_sharding, make_mesh, replicated
from jaxvision.train_state import TrainState, eval_variables, make_train_step, run_steps
from jaxvision.trained import Trained, load_trained, make_apply
from jaxvision.visualize.curves import learning_curves

CALLS_AHEAD = 2  # device calls that may be under way before the host waits for one


def train(config: ConfigDict, workdir: str) -> None:
    """Trains in `workdir` until the config's end; continues from the newest checkpoint there.

    Raises:
      UserError: config or data cannot work; the workdir is in use or holds another run.
      FloatingPointError: loss or gradient was not finite; the last good checkpoint stays.
      SystemExit: SIGINT or SIGTERM came; the state is saved, the code is 128 + the signal.
    """
    with workdir_lib.lock(workdir):
        workdir_lib.check_same_run(config, workdir)
        mesh = make_mesh({"batch_size": config.batch_size})
        dataset = loader.load_dataset(config)
        logs.describe_data(dataset)
        if "train" not in dataset.splits:
            raise UserError(
                f"{dataset.source} has no training examples: add some, or --mode=evaluate"
            )
        run = prepare(config, workdir, dataset, mesh)
        state, notes = start(run)
        workdir_lib.begin(config, workdir)
        step = int(state.step)
        wandb = wandb_log.start(config, workdir)
        log = logs.RunLog(workdir, run.total_steps, config.batch_size, step, wandb)
        with contextlib.closing(log), _signals() as stopped:
            notes = _loop(run, state, notes, log, stopped)
            _finish(run, notes, log)


def make_advance(run: Run, feed: loader.Feed, start: int) -> Callable:
    """Returns advance(state, step, count) -> (state, bad_step): trains on `count` batches.

    The returned `bad_step` is a copy that outlives the state, which the next call consumes.
    """
    config = run.config
    train_step = make_train_step(
        run.task.model,
        make_optimizer(run),
        config.seed,
        config.train.ema_decay,
        config.train.accumulate_steps,
    )
    sharding = replicated(run.mesh)
    jit = functools.partial(jax.jit, out_shardings=sharding)
    size = len(feed.split.names)
    if feed.arrays is None:
        batches = loader.train_batches(feed, config.seed, config.batch_size, start, run.total_steps)
        step_once = jit(
            lambda state, batch: _with_token(train_step(state, batch)), donate_argnums=0
        )

        def advance(state, step, count):
            for _ in range(count):
                state, token = step_once(state, next(batches))
            return state, token

        return advance
    step_many = jit(
        lambda data, state, rows: _with_token(run_steps(train_step, data, state, rows)),
        donate_argnums=1,
    )

    def advance(state, step, count):
        rows = loader.train_rows(
            step, count, config.batch_size, config.seed, size, feed.split.weights
        )
        rows = jax.device_put(rows, batch_sharding(run.mesh, axis=1))
        return step_many(feed.arrays, state, rows)

    return advance


def _with_token(state):
    return state, state.bad_step


@functools.partial(jax.jit, donate_argnums=0)
def _cleared(sums):
    return jax.tree.map(jnp.zeros_like, sums)  # not times 0: NaN would stay


def _loop(run: Run, state: TrainState, notes: dict, log: logs.RunLog, stopped: list) -> dict:
    """Trains to the end, or until early stopping; returns the notes of the last checkpoint."""
    config, step = run.config, int(state.step)
    feed = loader.open_training_feed(run.dataset, config, run.mesh)
    where = "resident on the device" if feed.arrays is not None else "streaming"
    say(f"training data: {where}; {run.total_steps} steps, {run.steps_per_epoch} an epoch")
    feed = _condensed(run, feed, state)
    advance = make_advance(run, feed, step)
    per_call = config.train.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    validate, observe = _make_validate(run, state), _make_observe(run)
    every = {
        "log": config.log.every_steps,
        "eval": max(1, round(config.eval.every_epochs * run.steps_per_epoch)),
        "save": config.checkpoint.every_steps or run.total_steps,
    }
    tokens, compiling = collections.deque(), time.perf_counter()
    while step < run.total_steps and not _early(run, notes, step):
        next_event = min(run.total_steps, *(step + n - step % n for n in every.values()))
        count = per_call if next_event - step >= per_call else 1
        state, token = advance(state, step, count)
        step += count
        tokens.append(token)
        if compiling:
            jax.block_until_ready(token)
            say(f"first step after {time.perf_counter() - compiling:.1f} s (compilation)")
            compiling = None
        log.start_clock(step)
        if len(tokens) > CALLS_AHEAD:
            _check_finite(run, feed, int(tokens.popleft()))
        due = {name for name, n in every.items() if step % n == 0 or step == run.total_steps}
        if not due and not stopped:
            continue
        _check_finite(run, feed, int(token))
        tokens.clear()
        if "log" in due:
            values = {k: float(a) / max(float(b), 1e-9) for k, (a, b) in state.sums.items()}
            log.progress(step, values, step / run.steps_per_epoch)
            state = state.replace(sums=_cleared(state.sums))
        score = None
        if "eval" in due:
            log.pause_clock()
            notes, score = validate(state, step, notes, log)
            state = state.replace(opt_state=observe(state.opt_state, score))
        if due & {"eval", "save"} or stopped:
            run.checkpoints.save(step, state, notes, score)
        if stopped:
            _stop(run, step, stopped[0])
    return notes


def _check_finite(run: Run, feed: loader.Feed, bad_step: int) -> None:
    if bad_step >= 0:
        run.checkpoints.wait()
        kept = run.checkpoints.newest()
        remains = (
            f"the checkpoint of step {kept} is kept" if kept else "nothing was saved before it"
        )
        raise FloatingPointError(
            f"loss or gradient of step {bad_step} is not finite; {remains}. "
            f"{divergence.explain(run, feed, bad_step)}"
        )


def _early(run: Run, notes: dict, step: int) -> bool:
    """Whether the validation metric has not improved for `early_stop_epochs`."""
    patience = run.config.early_stop_epochs * run.steps_per_epoch
    if not patience or notes["best_score"] is None or step - notes["best_step"] < patience:
        return False
    say(
        f"early stop: no better {run.config.checkpoint.best_metric} since step {notes['best_step']}"
    )
    return True


def _condensed(run: Run, feed: loader.Feed, state: TrainState) -> loader.Feed:
    """The feed with what the task's frozen parts make of it, where the task asks for that."""
    if run.task.model.condense is None:
        return feed
    say(f"the frozen part of the model sees {feed.split.examples} examples once")
    variables = eval_variables(state, run.config.train.ema_decay)
    condense = jax.jit(run.task.model.condense)
    return loader.condensed(feed, lambda batch: condense(variables, batch), run.config.batch_size)


def _make_validate(run: Run, state: TrainState) -> Callable:
    """Returns validate(state, step, notes, log) -> (notes, score), on the validation split."""
    if "val" not in run.dataset.splits:
        return lambda state, step, notes, log: (notes, None)
    config, report = run.config, run.task.report
    feed = loader.open_feed(run.dataset, "val", config, run.mesh)
    rows = evaluate.figure_rows(feed, config.eval.figure_rows)
    feed = _condensed(run, feed, state)

    def validate(state, step, notes, log):
        variables = eval_variables(state, config.train.ema_decay)
        size = evaluate.batch_size(config)
        measured = evaluate.measure(run.metrics, variables, feed, size, config.seed)
        fitted = report.fit(measured)
        values = report.metrics(measured, fitted)
        notes, score = _note_score(config, {**notes, "fitted": fitted}, values, step)
        names = headline(report.headline, config.checkpoint.best_metric)
        best = "  best so far" if score is not None and notes["best_step"] == step else ""
        say(f"val: {table(values, names)}  (step {step}){best}")
        log.metrics(step, {f"val/{name}": value for name, value in values.items()})
        drawn = report.draw(variables, rows, jax.random.key(config.seed), fitted)
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


def _make_observe(run: Run) -> Callable:
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


def _finish(run: Run, notes: dict, log: logs.RunLog) -> None:
    """Draws the curves and the worst rows, and judges the best checkpoint on the test split."""
    run.checkpoints.wait()
    trained = load_trained(run.config, run.workdir)
    size = evaluate.batch_size(run.config)
    log.figure(
        run.total_steps,
        "learning_curves",
        learning_curves(log.metrics_path, run.config.checkpoint.best_metric),
    )
    if "val" in run.dataset.splits:
        _draw_highlights(run, trained, size, log)
    if "test" in run.dataset.splits:
        _test(run, trained, size, log)
    else:
        say(f"test: {run.dataset.source} has no test split")
    apply = make_apply(trained, run.config.predict.batch_size)
    figures = Path(run.workdir) / "figures"
    run.task.report.finish(apply, run.dataset, figures, trained.fitted)
    say(f"results: {run.workdir} (figures/, evaluation.json, checkpoints/, parameters.txt)")
    say(
        f"next: python main.py --mode=predict --workdir={run.workdir} --input=<a picture or a "
        "folder> --output=<a folder>"
    )


def _draw_highlights(run: Run, trained: Trained, size: int, log: logs.RunLog) -> None:
    config, report = run.config, run.task.report
    feed = loader.open_feed(run.dataset, "val", config, run.mesh)
    measured = evaluate.measure(run.metrics, trained.variables, feed, size, config.seed)
    for name, numbers in report.highlights(measured, trained.fitted).items():
        rows = loader.host_rows(feed, numbers[: config.eval.figure_rows])
        drawn = report.draw(trained.variables, rows, jax.random.key(config.seed), trained.fitted)
        for figure, image in drawn.items():
            log.figure(trained.step, name if len(drawn) == 1 else f"{name}_{figure}", image)


def _test(run: Run, trained: Trained, size: int, log: logs.RunLog) -> None:
    report, fitted = run.task.report, trained.fitted
    feed = loader.open_feed(run.dataset, "test", run.config, run.mesh)
    measured = evaluate.measure(run.metrics, trained.variables, feed, size, run.config.seed)
    values = report.metrics(measured, fitted)
    log.metrics(run.total_steps, {f"test/{name}": value for name, value in values.items()})
    for name, image in report.figures(measured, fitted).items():
        log.figure(run.total_steps, f"test_{name}", image)
    tables = report.tables(measured, fitted)
    logs.write_evaluation(
        run.workdir, "test", trained.step, feed.split.examples, values, tables, report.headline
    )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are appended to; a second one ends the process at once."""
    received = []

    def remember(number, frame):
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(run: Run, step: int, number: int) -> None:
    run.checkpoints.wait()
    name = signal.Signals(number).name
    say(f"{name}: saved step {step} in {run.workdir}; the same command again resumes there")
    raise SystemExit(128 + number)
