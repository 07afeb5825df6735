"""What the tests of several processes run: trains tiny systems, and writes what came out.

python -m tests.hosts_program FOLDER unet,ram [--coordinator=... --processes=... --process=...]
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from jaxvision import hosts, logs, train
from jaxvision.checkpoint import open_checkpoints
from jaxvision.evaluate import evaluate_workdir
from jaxvision.input_pipeline import loader
from jaxvision.sharding import make_mesh, replicated, to_host
from tests import tiny, tiny_ram, tiny_systems

# Not Adam: it divides by the size of the gradient, so rounding decides where that is near 0. The
# rate is constant, so that a run that is to become longer begins as the longer one does.
SGD = dict(
    optimizer__name="sgd",
    optimizer__learning_rate=0.01,
    optimizer__warmup_steps=0,
    optimizer__schedule="constant",
)
# Drawn and judged once, at the end: programs for that take longer to compile than to run.
QUIET = dict(eval__figure_rows=0, eval__every_epochs=9.0, log__every_steps=1)
# data.resident_gib: less than the data have, so they are split over all devices.
RUNS = {
    "unet": lambda: tiny.tiny_config(**SGD, **QUIET, data__resident="true", train__steps=4),
    "streaming": lambda: tiny_systems.fer_config(**SGD, **QUIET, data__resident="false"),
    "split": lambda: tiny_systems.fer_config(
        **SGD, **QUIET, data__resident="true", data__resident_gib=1e-9
    ),
    "ram": lambda: tiny_ram.ram_config(**SGD),
}


def losses(folder):
    """The training loss of every step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def state_of(folder):
    """The newest checkpoint's weights and statistics, as a flat dict of host arrays."""
    checkpoints = open_checkpoints(str(folder), higher_is_better=True)
    saved = checkpoints.restore_as_saved(checkpoints.newest(), replicated(make_mesh({})))
    flat, _ = jax.tree_util.tree_flatten_with_path((saved["params"], saved["extra"]))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def dealt(gib):
    """(where the data are, training batches of pairs and validation batches) of `gib` a device."""
    config = tiny_systems.perception_config(
        loss__votes=1.0, data__resident="true", data__resident_gib=gib
    )
    mesh = make_mesh({"batch_size": config.batch_size})
    dataset = loader.load_dataset(config)
    feed = loader.open_training_feed(dataset, config, mesh)
    batches = [*loader.train_batches(feed, 0, 8, 0, 3)]
    batches += loader.eval_batches(loader.open_feed(dataset, "val", config, mesh), 12)
    return feed.where, [to_host(mesh, batch) for batch in batches]


def write_dealt(folder):
    """Writes dealt_<how>.npz."""
    for name, gib in (("whole", 1.0), ("local", 1.5e-4), ("all", 1e-9)):
        where, batches = dealt(gib)
        if hosts.first():
            arrays = {f"{i}/{n}": a for i, batch in enumerate(batches) for n, a in batch.items()}
            np.savez(folder / f"dealt_{name}.npz", where=where, **arrays)


def write_run(folder, name):
    """Trains a run, judges it where it is the ram's, and writes <name>.npz."""
    config = RUNS[name]()
    train.train(config, str(folder / name))
    if name == "ram":
        evaluate_workdir(config, str(folder / name), "all")
    state = state_of(folder / name)
    if hosts.first():
        np.savez(folder / f"{name}.npz", **state)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", help="of RUNS, or dealt; after commas")
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--process", type=int, default=-1)
    given = parser.parse_args()
    logs._tensorboard = lambda workdir: None  # importing TensorFlow takes longer than the runs
    hosts.connect(given.coordinator, given.processes, given.process)
    for name in given.names.split(","):
        if name == "dealt":
            write_dealt(given.folder)
        else:
            write_run(given.folder, name)
    hosts.disconnect()


if __name__ == "__main__":
    main()
