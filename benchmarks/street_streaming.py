"""Street photos from JPEG files to the train step, beside a PyTorch DataLoader.

python -m benchmarks.street_streaming

Both sides decode the same files with the same function; see benchmarks/README.md.
"""

import csv
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict
from PIL import Image

from benchmarks import jax_side
from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from configs import perception as perception_config
from jaxvision import workdir
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.dataset import Split, training_split
from jaxvision.input_pipeline.synthetic import perception as synthetic
from jaxvision.training.run import Run, initial_state, make_optimizer

FLAGS = flags.FLAGS
PHOTO = (400, 300)  # width and height in pixels, as most of Place Pulse 2.0
ENDLESS = 10**7  # steps of a stream that outlasts the benchmark


def make_photos(folder: Path, count: int) -> None:
    """`count` JPEGs of built-in scenes, and their scores.csv."""
    names, streets, _ = synthetic.make_streets(0, count)
    scores = synthetic.make_scores(streets)
    with open(folder / "scores.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file", *synthetic.WEIGHTS])
        for i, name in enumerate(names):
            scene = Image.fromarray(synthetic._read(streets, 0, PHOTO[1], i))
            scene.resize(PHOTO).save(folder / f"{name}.jpg", quality=90)
            lines.writerow([f"{name}.jpg", *scores[i]])


def make_config(folder: Path, batch_size: int) -> ConfigDict:
    """configs/perception.py on the photos, streaming, with a frozen encoder of random weights."""
    config = perception_config.get_config()
    config.batch_size = batch_size
    config.data.path, config.data.resident = str(folder), "false"
    config.model.encoder.weights = jax_side.random_weights(config, folder)
    return config


def stream(run: Run, workers: int) -> Iterator[dict]:
    """Our batches, on the device, from files."""
    config = ConfigDict(run.config.to_dict())
    config.data.workers = workers
    feed = loader.open_training_feed(run.dataset, config, run.mesh)
    return loader.train_batches(feed, 0, config.batch_size, 0, ENDLESS)


class Rows:
    """A split as PyTorch's DataLoader takes it: anything with a length and items."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split.names)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return self.split.read(row)


def torch_stream(split: Split, batch_size: int, workers: int) -> Iterator[dict]:
    """A shuffling PyTorch DataLoader's batches of the same rows."""
    from torch.utils.data import DataLoader

    rows = DataLoader(
        Rows(split),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="forkserver",  # JAX's threads do not survive a fork
    )
    while True:
        yield from rows


def contestant(batches: Iterator[dict], batch_size: int) -> Contestant:
    """Takes batches as fast as they come; a piece is an image."""

    def go(images):
        count = math.ceil(images / batch_size)
        for _ in range(count):
            batch = next(batches)
        if isinstance(batch["image"], jax.Array):
            jax.block_until_ready(batch)
        return count * batch_size

    return Contestant(go, warm_up=16 * batch_size)


def resident_gib() -> float:
    """Memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 2**20
    return math.nan


def memory_over(batches: Iterator[dict], images: int, batch_size: int) -> dict[str, float]:
    """{images so far: GiB of this process} at eleven moments of a stream."""
    steps, found = images // batch_size, {}
    for step in range(steps + 1):
        if step % max(steps // 10, 1) == 0:
            found[str(step * batch_size)] = round(resident_gib(), 3)
        jax.block_until_ready(next(batches))
    return found


def measure(folder: Path, photos: int, batch_size: int, options) -> dict:
    """Rates, ratios and memory; JSON-able."""
    make_photos(folder, photos)
    run = jax_side.make_run(make_config(folder, batch_size), str(folder / "run"))
    split = training_split(run.dataset)
    cores = os.cpu_count()
    loaders = {
        "jax loader, threads": contestant(stream(run, 0), batch_size),
        f"jax loader, {cores} processes": contestant(stream(run, cores), batch_size),
        f"torch loader, {cores} processes": contestant(
            torch_stream(split, batch_size, cores), batch_size
        ),
    }
    rates = in_turn(loaders, options.repeats, options.seconds)
    state = initial_state(run, make_optimizer(run))
    steps = {
        "jax step": jax_side.bare_step(run, state, jax_side.first_batch(run)),
        "jax loop, streaming": jax_side.whole_loop(run, state, resident=False),
    }
    rates |= in_turn(steps, options.repeats, options.seconds)
    return {
        "photo": list(PHOTO),
        "batch": [batch_size, *split.read(0)["image"].shape],
        "images_per_second": medians(rates),
        "memory_gib": memory_over(stream(run, 0), options.memory_images, batch_size),
        "rounds": rates,
    }


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells its settings
    workdir.keep_compiled_programs()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), FLAGS.photos, FLAGS.batch_size, FLAGS)
    for name, rate in result["images_per_second"].items():
        print(f"  {name:<28}{rate:8.1f} images/s")
    for images, gib in result["memory_gib"].items():
        print(f"  memory after {images:>7} images: {gib:.3f} GiB")
    write_result(FLAGS.out, {"machine": machine(), **result})


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_integer("photos", 2000, "JPEG files to make.")
    flags.DEFINE_integer("batch_size", 32, "Photos a batch.")
    flags.DEFINE_integer("memory_images", 100_000, "Photos streamed while memory is watched.")
    flags.DEFINE_integer("repeats", 5, "Rounds; every contestant has one turn in each.")
    flags.DEFINE_float("seconds", 4.0, "About how long a turn is.")
    flags.DEFINE_string("out", "benchmarks/results/street_streaming_cpu.json", "Result file.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
