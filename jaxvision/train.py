"""The training loop: every system's, and the only one."""

import collections
import contextlib
import functools
import signal
import time

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision import failures, hosts, logs
from jaxvision import workdir as workdir_lib
from jaxvision.config.saved import with_absolute_paths
from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.evaluate import check_same_data
from jaxvision.input_pipeline import loader
from jaxvision.logs import wandb_log
from jaxvision.sharding import make_mesh
from jaxvision.training import cadence, divergence, stopping
from jaxvision.training.advance import Ahead, begin_ahead, make_advance
from jaxvision.training.finish import finish, say_results
from jaxvision.training.run import Run, begin, check_ahead, make_optimizer, prepare, start
from jaxvision.training.train_state import TrainState
from jaxvision.training.validation import condensed, make_observe, make_validate

CALLS_AHEAD = 2  # device calls that may be under way before the host waits for one


def train(config: ConfigDict, workdir: str, test: bool = True) -> None:
    """Trains in `workdir` until the config's end; continues from the newest checkpoint there.

    Args:
      test: judge the test split at the end; without, the same call with it does so later.

    Raises:
      UserError: config or data cannot work; the workdir is in use or holds another run.
      FloatingPointError: loss or gradient was not finite; the last good checkpoint stays.
      SystemExit: SIGINT or SIGTERM came; the state is saved, the code is 128 + the signal.
    """
    config = with_absolute_paths(config)
    with workdir_lib.lock(workdir):
        workdir_lib.check_same_config(config)
        begun = hosts.from_first(lambda: workdir_lib.check_same_run(config, workdir))
        if hosts.from_first(lambda: workdir_lib.has_finished(config, workdir, test)):
            return say_results(workdir, "finished before, nothing is left to do")
        mesh = make_mesh({"batch_size": config.batch_size})
        check_ahead(config, fresh=not begun)
        dataset = loader.load_dataset(config)
        check_same_data(dataset)
        logs.describe_data(dataset)
        if "train" not in dataset.splits:
            raise UserError(
                f"{dataset.source} has no training examples: add some, or --mode=evaluate"
            )
        run = prepare(config, workdir, dataset, mesh)
        beginning = begin(run, make_optimizer(run))
        ahead = begin_ahead(run, beginning.shapes)
        state, notes = start(run, beginning)
        with contextlib.closing(_begin(run, int(state.step))) as log:
            _loop(run, state, notes, log, ahead)
            finish(run, log, test)
            if hosts.first():
                workdir_lib.note_finished(config, workdir, test)


def _begin(run: Run, step: int) -> logs.RunLog | logs.NoLog:
    """Writes the config; the log of a run that goes on after `step`."""
    if not hosts.first():
        return logs.NoLog()
    workdir_lib.begin(run.config, run.workdir)
    wandb = wandb_log.start(run.config, run.workdir)
    return logs.RunLog(run.workdir, run.total_steps, run.config.batch_size, step, wandb)


@jax.jit
def cleared(sums):
    """The sums of the log at zero; the old ones stay."""
    # From the sums themselves, so that the result lies on the devices as they do: a constant would
    # not, and the step would be compiled again for it. Not times 0 alone: NaN would stay.
    return jax.tree.map(lambda s: jnp.where(jnp.isfinite(s), s * 0, 0), sums)


def _loop(run: Run, state: TrainState, notes: dict, log: logs.RunLog, ahead: Ahead | None) -> dict:
    """Trains to the end, or until early stopping; returns the notes of the last checkpoint."""
    feed = ahead.outline if ahead else loader.open_training_feed(run.dataset, run.config, run.mesh)
    say(f"training data: {feed.where}; {run.total_steps} steps, {run.steps_per_epoch} an epoch")
    feed, begun = condensed(run, feed, state), time.perf_counter()
    # Whose arrays are not there yet is read row by row.
    check = functools.partial(_check_finite, run, feed._replace(arrays=None) if ahead else feed)
    with contextlib.ExitStack() as opened:
        validate = make_validate(run, opened)
        # Before, there was nothing that would have to be saved.
        received = opened.enter_context(failures.remembered_signals())
        advance = make_advance(run, feed, int(state.step), received, ahead)
        return _steps(run, state, notes, log, (advance, validate, check), received, begun)


def _steps(run, state, notes, log, functions, received, begun) -> dict:
    """The steps of `_loop`, which began at time `begun`; `received` holds the signals that came."""
    step, every = int(state.step), cadence.every(run)
    advance, validate, check_finite = functions
    observe = make_observe(run)
    tokens, unwritten, stop = collections.deque(), None, 0
    while step < run.total_steps and not _early(run, notes, step):
        count = cadence.count(run, step)
        state, token = advance(state, step, count)
        step += count
        tokens.append(token)
        if begun:
            jax.block_until_ready(token)
            say(f"first step after {time.perf_counter() - begun:.1f} s (compilation)")
            begun = None
            log.open_tensorboard()  # beside the next steps
        log.start_clock(step)
        if unwritten:  # one call late: the device is at work while the host waits for the sums
            check_finite(stopping.read(unwritten[1], received)[0])
            _write_sums(run, log, *unwritten)
            unwritten = None
        if len(tokens) > CALLS_AHEAD:
            bad_step, stop = stopping.read(tokens.popleft(), received)
            check_finite(bad_step)
        due = {name for name, n in every.items() if step % n == 0 or step == run.total_steps}
        if "log" in due:
            unwritten = step, token, state.sums
            state = state.replace(sums=cleared(state.sums))
        if due <= {"log"} and not stop:
            continue
        bad_step, stop = stopping.read(token, received)
        check_finite(bad_step)
        tokens.clear()
        if unwritten:
            _write_sums(run, log, *unwritten)
            unwritten = None
        score = None
        if "eval" in due:
            log.pause_clock()
            notes, score = validate(state, step, notes, log)
            state = state.replace(opt_state=observe(state.opt_state, score))
        if due & {"eval", "save"} or stop:
            run.checkpoints.save(step, state, notes, score)
        if stop:
            _stop(run, step, stop)
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


def _stop(run: Run, step: int, number: int) -> None:
    run.checkpoints.wait()
    name = signal.Signals(number).name
    say(f"{name}: saved step {step} in {run.workdir}; the same command again resumes there")
    raise SystemExit(128 + number)
