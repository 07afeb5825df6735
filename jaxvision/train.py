"""The training loop: every system's, and the only one."""

import collections
import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision import logs, wandb_log
from jaxvision import workdir as workdir_lib
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.sharding import batch_sharding, make_mesh, replicated
from jaxvision.training import divergence
from jaxvision.training.finish import finish, say_results
from jaxvision.training.run import Run, check_ahead, make_optimizer, prepare, start
from jaxvision.training.train_state import TrainState, make_train_step, run_steps
from jaxvision.training.validation import condensed, make_observe, make_validate

CALLS_AHEAD = 2  # device calls that may be under way before the host waits for one


def train(config: ConfigDict, workdir: str) -> None:
    """Trains in `workdir` until the config's end; continues from the newest checkpoint there.

    Raises:
      UserError: config or data cannot work; the workdir is in use or holds another run.
      FloatingPointError: loss or gradient was not finite; the last good checkpoint stays.
      SystemExit: SIGINT or SIGTERM came; the state is saved, the code is 128 + the signal.
    """
    with workdir_lib.lock(workdir):
        begun = workdir_lib.check_same_run(config, workdir)
        if workdir_lib.has_finished(config, workdir):
            return say_results(workdir, "finished before, nothing is left to do")
        mesh = make_mesh({"batch_size": config.batch_size})
        check_ahead(config, fresh=not begun)
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
        with contextlib.closing(log):
            notes = _loop(run, state, notes, log)
            finish(run, log)
            workdir_lib.note_finished(config, workdir)


def make_advance(run: Run, feed: loader.Feed, start: int) -> Callable:
    """Returns advance(state, step, count) -> (state, bad_step): trains on `count` batches.

    The returned `bad_step` is a copy that outlives the state, which the next call consumes.
    """
    config, size = run.config, len(feed.split.names)
    step_once, step_many = jitted_steps(run)
    if feed.arrays is None:
        batches = loader.train_batches(feed, config.seed, config.batch_size, start, run.total_steps)

        def advance(state, step, count):
            for _ in range(count):
                state, token = step_once(state, next(batches))
            return state, token

        return advance

    def advance(state, step, count):
        rows = loader.train_rows(
            step, count, config.batch_size, config.seed, size, feed.split.weights
        )
        rows = jax.device_put(rows, batch_sharding(run.mesh, axis=1))
        return step_many(feed.arrays, state, rows)

    return advance


def jitted_steps(run: Run) -> tuple[Callable, Callable]:
    """The programs of the loop, which consume the state; both give (state, bad_step).

    Returns:
      step_once: (state, batch).
      step_many: (data, state, rows [K, B]), K steps through the resident data of a feed.
    """
    config = run.config
    train_step = make_train_step(
        run.task.model,
        make_optimizer(run),
        config.seed,
        config.train.ema_decay,
        config.train.accumulate_steps,
    )
    jit = functools.partial(jax.jit, out_shardings=replicated(run.mesh))
    return (
        jit(lambda state, batch: _with_token(train_step(state, batch)), donate_argnums=0),
        jit(
            lambda data, state, rows: _with_token(run_steps(train_step, data, state, rows)),
            donate_argnums=1,
        ),
    )


def _with_token(state):
    return state, state.bad_step


@jax.jit
def cleared(sums):
    """The sums of the log at zero; the old ones stay."""
    # From the sums themselves, so that the result lies on the devices as they do: a constant would
    # not, and the step would be compiled again for it. Not times 0 alone: NaN would stay.
    return jax.tree.map(lambda s: jnp.where(jnp.isfinite(s), s * 0, 0), sums)


def _loop(run: Run, state: TrainState, notes: dict, log: logs.RunLog) -> dict:
    """Trains to the end, or until early stopping; returns the notes of the last checkpoint."""
    config = run.config
    feed = loader.open_training_feed(run.dataset, config, run.mesh)
    where = "resident on the device" if feed.arrays is not None else "streaming"
    say(f"training data: {where}; {run.total_steps} steps, {run.steps_per_epoch} an epoch")
    feed = condensed(run, feed, state)
    advance = make_advance(run, feed, int(state.step))
    validate = make_validate(run, state)
    check = functools.partial(_check_finite, run, feed)
    with _signals() as stopped:  # before, there was nothing that would have to be saved
        return _steps(run, state, notes, log, (advance, validate, check), stopped)


def _steps(run, state, notes, log, functions, stopped) -> dict:
    """The steps of `_loop`; `stopped` holds the signals that came."""
    config, step = run.config, int(state.step)
    advance, validate, check_finite = functions
    per_call = config.train.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    observe = make_observe(run)
    every = {
        "log": config.log.every_steps,
        "eval": max(1, round(config.eval.every_epochs * run.steps_per_epoch)),
        "save": config.checkpoint.every_steps or run.total_steps,
    }
    every = {name: n for name, n in every.items() if n}  # 0: never
    tokens, compiling, unwritten = collections.deque(), time.perf_counter(), None
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
        if unwritten:  # one call late: the device is at work while the host waits for the sums
            check_finite(int(unwritten[1]))
            _write_sums(run, log, *unwritten)
            unwritten = None
        if len(tokens) > CALLS_AHEAD:
            check_finite(int(tokens.popleft()))
        due = {name for name, n in every.items() if step % n == 0 or step == run.total_steps}
        if "log" in due:
            unwritten = step, token, state.sums
            state = state.replace(sums=cleared(state.sums))
        if due <= {"log"} and not stopped:
            continue
        check_finite(int(token))
        tokens.clear()
        if unwritten:
            _write_sums(run, log, *unwritten)
            unwritten = None
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


def _write_sums(run: Run, log: logs.RunLog, step: int, token: jax.Array, sums: dict) -> None:
    """The line of the training log for a step whose sums were taken from the state."""
    values = {k: float(a) / max(float(b), 1e-9) for k, (a, b) in jax.device_get(sums).items()}
    log.progress(step, values, step / run.steps_per_epoch)


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


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are appended to; a second one ends the process at once.

    Where this is not the main thread, signals are another's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
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
