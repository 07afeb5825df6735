"""What the tests of several processes run: trains tiny systems, and writes what came out.

python tests/hosts_program.py FOLDER [--coordinator=... --processes=... --process=...]
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from jaxvision import hosts, logs, train
from jaxvision.evaluate import evaluate_workdir
from jaxvision.input_pipeline import loader
from jaxvision.sharding import make_mesh, to_host
from tests import tiny, tiny_ram, tiny_systems

# Not Adam: it divides by the size of the gradient, so rounding decides where that is near 0.
SGD = dict(optimizer__name="sgd", optimizer__learning_rate=0.01, optimizer__warmup_steps=0)
# data.resident_gib: less than the data have, so they are split over each process' devices, or all.
RUNS = {
    "unet": lambda: tiny.tiny_config(**SGD, data__resident="true"),
    "unet_streaming": lambda: tiny.tiny_config(
        **SGD, data__resident="false", eval__figure_rows=0, eval__every_epochs=9.0
    ),
    "unet_split": lambda: tiny.tiny_config(
        **SGD, data__resident="true", data__resident_gib=1e-9, eval__figure_rows=0, train__steps=3
    ),
    "ram": lambda: tiny_ram.ram_config(**SGD),
}


def train_all(folder):
    logs._tensorboard = lambda workdir: None  # importing TensorFlow takes longer than the runs
    for name, make in RUNS.items():
        train.train(make(), str(folder / name))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def state_of(folder, config):
    """The newest checkpoint, as a flat dict of host arrays."""
    run, _, state = tiny.open_run(config, folder)
    state = run.checkpoints.restore(run.checkpoints.newest(), state)
    flat, _ = jax.tree_util.tree_flatten_with_path((state.params, state.extra))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def dealt(gib):
    """The rows of every training and validation batch of pairs, by a feed of `gib` a device."""
    config = tiny_systems.perception_config(
        loss__votes=1.0, data__resident="true", data__resident_gib=gib
    )
    mesh = make_mesh({"batch_size": config.batch_size})
    dataset = loader.load_dataset(config)
    feed = loader.open_training_feed(dataset, config, mesh)
    batches = [*loader.train_batches(feed, 0, 8, 0, 3)]
    batches += loader.eval_batches(loader.open_feed(dataset, "val", config, mesh), 12)
    return feed.where, [to_host(mesh, batch) for batch in batches]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--process", type=int, default=-1)
    given = parser.parse_args()
    hosts.connect(given.coordinator, given.processes, given.process)
    folder = given.folder
    train_all(folder)
    evaluate_workdir(tiny.tiny_config(**SGD), str(folder / "unet"), "all")
    for name, gib in (("whole", 1.0), ("local", 1.5e-4), ("all", 1e-9)):
        where, batches = dealt(gib)
        if hosts.first():
            arrays = {f"{i}/{n}": a for i, batch in enumerate(batches) for n, a in batch.items()}
            np.savez(folder / f"dealt_{name}.npz", where=where, **arrays)
    for name, make in RUNS.items():
        state = state_of(folder / name, make())
        if hosts.first():
            np.savez(folder / f"{name}.npz", **state)
    hosts.disconnect()


if __name__ == "__main__":
    main()
