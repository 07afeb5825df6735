"""A tiny run of each system, and its exported folder, written once a session."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxvision import evaluate
from jaxvision import workdir as workdir_lib
from jaxvision.export.write import Options, export_model
from jaxvision.training.train_state import eval_variables
from tests.tiny import open_run
from tests.tiny_systems import CONFIGS


class Model(NamedTuple):
    """config: the run's; workdir, folder: the run's and the exported model's."""

    config: object
    workdir: str
    folder: str


def begun(config, workdir):
    """A run that has a checkpoint, of its first weights, and what validation makes of them."""
    Path(workdir).mkdir(parents=True, exist_ok=True)
    workdir_lib.begin(config, str(workdir))
    run, _, state = open_run(config, workdir)
    feed = evaluate.loader.open_feed(run.dataset, "val", config, run.mesh)
    variables, size = eval_variables(state, 0.0), evaluate.batch_size(config)
    measured = evaluate.measure(run.metrics, variables, feed, size, config.seed)
    fitted = run.task.report.fit(measured)
    notes = {"info": run.dataset.info, "fitted": fitted, "best_score": None, "best_step": 0}
    notes["fingerprint"] = run.dataset.fingerprint
    run.checkpoints.save(1, _livelier(state), notes, None)
    run.checkpoints.wait()


def _livelier(state):
    """Weights more like those that training leaves: nothing is equal, no head is near 0."""

    def shaken(path, leaf):
        if path[-1].key not in ("mean", "var"):
            return leaf
        rng = np.random.default_rng(len(str(path)) + leaf.size)
        return leaf + jax.numpy.asarray(rng.uniform(0, 0.3, leaf.shape), leaf.dtype)

    def larger(path, leaf):  # a head that begins near 0 hides what comes before it
        head = [key.key for key in path[-2:]] == ["out", "kernel"]
        return leaf * 30 if head else leaf

    return state.replace(
        extra=jax.tree_util.tree_map_with_path(shaken, state.extra),
        params=jax.tree_util.tree_map_with_path(larger, state.params),
    )


@functools.cache
def exported(system, **options):
    """The run of `tests/tiny_systems.CONFIGS[system]`, exported with `Options` of write.py."""
    config, workdir = run_of(system)
    folder = Path(_root()) / f"{system}-{len(options)}{''.join(options.values())}"
    export_model(config, workdir, str(folder), options=Options(**options))
    return Model(config, workdir, str(folder))


@functools.cache
def run_of(system):
    """(config, workdir) of a run that has a checkpoint."""
    # Two strides of the network and a part of one.
    size = {"data__image_size": 72} if system == "segmentation" else {}
    config, workdir = CONFIGS[system](**size), str(Path(_root()) / f"{system}-run")
    begun(config, workdir)
    return config, workdir


@functools.cache
def _root():
    folder = tempfile.mkdtemp(prefix="jaxvision-exports-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
