"""What training over many GPUs needs, on paper: the tables of docs/scale.md.

python -m benchmarks.scale

Counted here: the floating point operations of a step, by XLA's cost analysis of the program that is
lowered for CUDA, and the bytes of its gradients. Assumed: what a GPU and its links do (the flags).
No GPU is needed, and none was used.
"""

import argparse
import math
import tempfile
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks.jax_side import first_batch, make_run
from configs import perception, unet
from jaxvision.training.run import initial_state, make_optimizer
from jaxvision.training.train_state import make_train_step

COUNTED_BATCH = 8
HOST = 8  # GPUs
GPUS = (8, 64, 512)
BUSY = 0.9  # of a step is computing, if nothing overlaps
LEAST = 32  # examples a GPU: what fewer would do to its rate is not reckoned


class Load(NamedTuple):
    """A system's step.

    Attributes:
      name: and data, in words.
      examples: in an epoch.
      flops: floating point operations an example.
      tflops: that a GPU is assumed to do, 10**12 a second.
      gradients: bytes that all GPUs add up every step.
      row: bytes of a decoded example.
    """

    name: str
    examples: int
    flops: float
    tflops: float
    gradients: int
    row: int


def perception_config() -> ConfigDict:
    """ResNet50, fine-tuned, on 224 pixels of 256."""
    config = perception.get_config()
    config.model.encoder.name, config.model.encoder.freeze = "resnet50", False
    config.data.image_size, config.data.crop_size = 256, 224
    return config


def count(name: str, config: ConfigDict, examples: int, tflops: float) -> Load:
    """Counts a step of `config` on its built-in data."""
    config.batch_size = COUNTED_BATCH
    config.train.dtype = "bfloat16"
    config.model.encoder.weights = ""
    config.data.synthetic_examples = dict(train=16, val=8, test=8)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(config, folder)
        optimizer = make_optimizer(run)
        state, batch = initial_state(run, optimizer), first_batch(run)
    step = make_train_step(run.task.model, optimizer, config.seed, 0.0, 1)
    lowered = jax.jit(step).trace(state, batch).lower(lowering_platforms=("cuda",))
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    row = sum(array.nbytes for array in batch.values()) // COUNTED_BATCH
    flops = lowered.cost_analysis()["flops"] / COUNTED_BATCH
    return Load(name, examples, flops, tflops, gradients, row)


def exchange_seconds(load: Load, gpus: int, given: argparse.Namespace) -> float:
    """A ring all-reduce: every GPU sends and receives 2 (n - 1) / n of the gradients."""
    rate = given.nvlink if gpus <= HOST else given.network
    sent = 2 * (gpus - 1) / gpus * load.gradients
    return sent / (rate * 1e9) + given.latency * 1e-6 * math.log2(gpus)


def table(load: Load, given: argparse.Namespace) -> list[str]:
    """The rows of a load's table."""
    rate = load.tflops * 1e12 / load.flops  # examples a second and GPU
    rows = [
        f"{load.name}, {load.examples:,} examples: {load.flops / 1e9:.2f} GFLOP an example, at "
        f"{load.tflops:g} TFLOP/s {rate:,.0f} a second and GPU; gradients "
        f"{load.gradients / 1e6:.1f} MB; {load.row:,} bytes a decoded example, "
        f"{load.examples * load.row / 2**30:,.1f} GiB in all",
        "",
        "| GPUs | all-reduce, sent by a GPU | takes | batch a GPU | batch_size | steps an epoch "
        "| epoch | streaming: decoded by a host | split over all: GiB a GPU | exchange a step |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for gpus in GPUS:
        seconds = exchange_seconds(load, gpus, given)
        each = max(LEAST, 8 * math.ceil(seconds * BUSY / (1 - BUSY) * rate / 8))
        steps = math.ceil(load.examples / (each * gpus))
        step = each / rate + seconds
        link = given.nvlink if gpus <= HOST else given.network
        moved = (gpus - 1) * each * load.row
        sent = 2 * (gpus - 1) / gpus * load.gradients
        rows.append(
            f"| {gpus} | {sent / 1e6:.1f} MB | {seconds * 1e3:.2f} ms | {each} | {each * gpus:,} "
            f"| {steps:,} | {steps * step:,.1f} s | {HOST * each / step:,.0f} /s "
            f"| {load.examples * load.row / 2**30 / gpus:.2f} "
            f"| {moved / 1e6:,.0f} MB, {moved / link / 1e6:.1f} ms |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    about = "10**12 operations a second that a GPU does of a step, in bfloat16"
    parser.add_argument("--resnet_tflops", type=float, default=100.0, help=about)
    parser.add_argument("--unet_tflops", type=float, default=20.0, help=about)
    parser.add_argument("--nvlink", type=float, default=300.0, help="GB/s a GPU inside a host")
    parser.add_argument("--network", type=float, default=40.0, help="GB/s a GPU between hosts")
    parser.add_argument("--latency", type=float, default=15.0, help="microseconds a doubling")
    given = parser.parse_args()
    loads = (
        count("ResNet50 perception", perception_config(), 111_000, given.resnet_tflops),
        count("U-Net", unet.get_config(), 10_000_000, given.unet_tflops),
    )
    for load in loads:
        print("\n".join(table(load, given)), end="\n\n")


if __name__ == "__main__":
    main()
