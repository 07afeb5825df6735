"""A recipe of `configs/unet.py` in PyTorch: what the data allow, whatever the framework.

python -m benchmarks.unet_recipe_torch --config=configs/unet.py --workdir=workdir/torch \
  --config.data.path=/data/aerial

The network of `unet_torch` starts from our first weights (the encoder's pretrained ones among them)
and sees our batches in our order, augmented by our code with our random numbers. Loss,
optimizer, schedule and moving average are PyTorch's. Our report judges it: threshold and best step
are chosen on validation, and test is read once at the end.
"""

import contextlib
import os
import sys
from collections.abc import Callable

import jax
import numpy as np
import torch
from absl import app, flags, logging
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_flags
from torch.optim import swa_utils

from benchmarks import counterparts, jax_side, torch_side, unet_torch
from benchmarks.timing import machine, write_result
from jaxvision import evaluate, large_pages, logs, workdir
from jaxvision.console import say, table
from jaxvision.input_pipeline import loader
from jaxvision.sharding import make_mesh, put, replicated
from jaxvision.task import Measured
from jaxvision.training import cadence
from jaxvision.training.optimizers import learning_rate
from jaxvision.training.run import Run, initial_state, make_optimizer, prepare
from jaxvision.training.train_state import eval_variables

FLAGS = flags.FLAGS


def make_model(run: Run) -> unet_torch.UNet:
    """The network with our first weights, turned (`unet_torch.load_turned`)."""
    variables = eval_variables(initial_state(run, make_optimizer(run)), 0.0)
    flat = {path: np.asarray(array) for path, array in flatten_dict(variables).items()}
    order = jax_side.in_call_order(run)
    parts = [
        {path[1:]: flat[path] for path in order if path[0] == part}
        for part in ("params", "batch_stats")
    ]
    model = unet_torch.make_model(run.config)
    unet_torch.load_turned(model, *parts)
    return model.to(counterparts.device())


def turned(array: np.ndarray) -> torch.Tensor:
    """Images or masks [B, H, W, ...], turned by 180 degrees, on the host."""
    return torch.from_numpy(np.array(np.asarray(array)[:, ::-1, ::-1]))


def make_batches(run: Run) -> Callable[[int], dict[str, jax.Array]]:
    """Returns batch(step): the one that our loop trains on after so many steps."""
    config, augment = run.config, run.task.model.augment
    feed = loader.open_training_feed(run.dataset, config, run.mesh)
    if feed.arrays is None:
        raise ValueError("data are streamed: run with --config.data.resident=true")
    names = len(feed.split.names)

    @jax.jit
    def augmented(arrays, rows, step):
        key = jax.random.fold_in(jax.random.key(config.seed), step)  # as `make_train_step`
        return augment(jax.random.split(key)[0], feed.take(arrays, rows))

    def batch(step):
        rows = loader.train_rows(
            step, 1, config.batch_size, config.seed, names, feed.split.weights
        )[0]
        return augmented(feed.arrays, put(rows, replicated(run.mesh)), step)

    return batch


def measure(run: Run, model: torch.nn.Module, split: str) -> Measured:
    """What our report sees of a split; the model is then in training mode again."""
    device, report = next(model.parameters()).device, run.task.report
    judge = jax.jit(report.measure)

    def metrics(variables, batch, key):
        del variables, key
        with torch.inference_mode():
            logits = model(turned(report.inputs(batch)).to(device))
        probability = logits.sigmoid().cpu().numpy()[:, ::-1, ::-1]
        return judge({"probability": np.ascontiguousarray(probability)}, batch)

    feed = loader.open_feed(run.dataset, split, run.config, run.mesh)
    model.eval()
    size = evaluate.batch_size(run.config)
    measured = evaluate.measure(metrics, {}, feed, size, run.config.seed)
    model.train()
    return measured


def make_steps(run: Run, model: torch.nn.Module) -> Callable[[int], torch.Tensor]:
    """Returns step(i) -> loss: trains on batch i, from 0, at the learning rate of update i."""
    update, optimizer = torch_side.make_update(model, run.config, unet_torch.bce_dice)
    rate, batches = learning_rate(run.config, run.total_steps), make_batches(run)

    def step(i):
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * float(rate(i))
        batch = batches(i)
        return update(turned(batch["image"]), turned(batch["mask"]))

    return step


def make_average(model: torch.nn.Module, decay: float) -> swa_utils.AveragedModel | None:
    """The moving average of weights and statistics, which `update_parameters` adds to."""
    mean = swa_utils.get_ema_multi_avg_fn(decay)
    return swa_utils.AveragedModel(model, multi_avg_fn=mean, use_buffers=True) if decay else None


def train(run: Run, log: logs.RunLog) -> dict:
    """Trains to the config's end.

    Returns:
      {'validation': [metrics of each], 'best_step', 'test': metrics of the best step}.
    """
    config, report, model = run.config, run.task.report, make_model(run)
    step, average = make_steps(run, model), make_average(model, config.train.ema_decay)
    judged, every, losses = average or model, cadence.every(run), []
    found, best = [], None
    sign = 1 if config.checkpoint.higher_is_better else -1
    for i in range(1, run.total_steps + 1):
        losses.append(step(i - 1))
        if average:
            average.update_parameters(model)
        log.start_clock(i)
        if i % every["log"] == 0:
            log.progress(i, {"loss": float(torch.stack(losses).mean())}, i / run.steps_per_epoch)
            losses = []
        if i % every["eval"] and i < run.total_steps:
            continue
        log.pause_clock()
        measured = measure(run, judged, "val")
        fitted = report.fit(measured)
        values = tell(run, log, i, i, "val", measured, fitted)
        found.append({"step": i, **values})
        score = sign * values[config.checkpoint.best_metric]
        if best is None or score > best[0]:
            weights = {name: tensor.clone() for name, tensor in judged.state_dict().items()}
            best = score, i, fitted, weights
    _, i, fitted, weights = best
    judged.load_state_dict(weights)
    values = tell(run, log, run.total_steps, i, "test", measure(run, judged, "test"), fitted)
    return {"validation": found, "best_step": i, "test": values}


def tell(
    run: Run,
    log: logs.RunLog,
    now: int,
    of: int,
    split: str,
    measured: Measured,
    fitted: dict[str, float],
) -> dict[str, float]:
    """A split's metrics, of the weights of step `of`, which are logged under `now`."""
    values = run.task.report.metrics(measured, fitted)
    log.metrics(now, {f"{split}/{name}": value for name, value in values.items()})
    say(f"{split}: {table(values, run.task.report.headline)}  (step {of})")
    return values


def main(argv: list[str]) -> None:
    """Trains, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)
    workdir.keep_compiled_programs()
    torch.set_num_threads(os.cpu_count())
    config: ConfigDict = FLAGS.config
    with workdir.lock(FLAGS.workdir):
        mesh = make_mesh({"batch_size": config.batch_size})
        run = prepare(config, FLAGS.workdir, loader.load_dataset(config), mesh)
        logs.describe_data(run.dataset)
        log = logs.RunLog(FLAGS.workdir, run.total_steps, config.batch_size, 0)
        with contextlib.closing(log):
            result = train(run, log)
    result = {"machine": machine(), "config": config.to_dict(), **result}
    write_result(FLAGS.out or "benchmarks/results/unet_recipe_torch.json", result)
    sys.stdout.flush()


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    config_flags.DEFINE_config_file("config", "configs/unet.py")
    flags.DEFINE_string("workdir", "workdir/unet_torch", "Where the log goes.")
    flags.DEFINE_string("out", "", "Result file; '': benchmarks/results/unet_recipe_torch.json.")


if __name__ == "__main__":
    large_pages.start_again()  # as main.py does
    define_flags()
    app.run(main)
