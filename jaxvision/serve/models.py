"""Trained models to serve: opened, made ready, and exchanged for better ones."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvision import batching
from jaxvision import workdir as workdir_lib
from jaxvision.checkpoint import open_checkpoints
from jaxvision.errors import UserError
from jaxvision.serve.programs import open_program
from jaxvision.sharding import shard_batch
from jaxvision.task import Predictor
from jaxvision.trained import Trained, load_trained


class Engine(NamedTuple):
    """A trained model, ready to answer.

    Attributes:
      task: its name.
      predictor: from pictures to inputs, and from outputs to answers.
      predict: (inputs uint8 [n, *input_shape]) -> {name: array [n, ...]}; may return before the
        result is there. A new n may compile anew: use the sizes of `batching.bucket`.
      devices: that share a batch; n divides among them.
      info: the data set's facts (class names, ...).
      fitted: what validation chose (a threshold, ...).
      step: of the training that the weights are from.
      digest: changes with the model; letters and digits.
      runs_on: jax's platform, to be told.
    """

    task: str
    predictor: Predictor
    predict: Callable[[np.ndarray], dict[str, Any]]
    devices: int
    info: dict[str, Any]
    fitted: dict[str, float]
    step: int
    digest: str
    runs_on: str


def open_engine(config: ConfigDict, folder: str) -> Engine:
    """The best checkpoint of a workdir.

    Raises:
      UserError: nothing was trained there.
    """
    workdir_lib.keep_compiled_programs()
    trained = load_trained(config, folder)
    checkpoints = open_checkpoints(folder, config.checkpoint.higher_is_better)
    info = checkpoints.notes(trained.step)["info"]
    return Engine(
        task=config.task,
        predictor=trained.task.predictor,
        predict=_make_predict(trained, config, info),
        devices=trained.mesh.size,
        info=info,
        fitted=trained.fitted,
        step=trained.step,
        digest=_digest(trained),
        runs_on=trained.mesh.devices.flat[0].platform,
    )


def _make_predict(trained: Trained, config: ConfigDict, info: dict[str, Any]) -> Callable:
    free = any(isinstance(side, str) for side in trained.task.model.input_shape)
    if free and trained.mesh.size == 1:  # an exported program is for the devices it was made for
        program = open_program(trained, config, info)
    else:
        program = jax.jit(trained.task.model.predict)

    def predict(inputs: np.ndarray) -> dict[str, Any]:
        return program(trained.variables, shard_batch(trained.mesh, inputs))

    return predict


def _digest(trained: Trained) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((trained.variables, trained.fitted)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def newest_best(config: ConfigDict, folder: str) -> int | None:
    """The step that `open_engine` would take now; None where there is none."""
    return open_checkpoints(folder, config.checkpoint.higher_is_better).best()


# ---- which programs are compiled before the first request --------------------------------------

CPU_PIXELS = 2**17  # of the inputs of one batch: larger ones gain nothing on a CPU
PIXELS = 2**21  # on anything else
MOST_ROWS = 32
PROBE_STEP, PROBE_SIDE = 16, 2048  # pixels


def input_shapes(engine: Engine) -> list[tuple[int, ...]]:
    """Every shape that the model's inputs may have, without the batch axis; square ones first.

    Most models have one. A model that takes tiles has a few for each axis, and these depend on
    that axis' length alone, so thin pictures tell them all.
    """
    prepare = engine.predictor.prepare
    tall = {}
    for side in range(PROBE_STEP, PROBE_SIDE + 1, PROBE_STEP):
        for shape in _shapes_of(prepare, side, PROBE_STEP):
            tall.setdefault(shape[0], side)
        if side == 4 * PROBE_STEP and len(tall) < 2 and not _varies(prepare):
            break
    shapes = {
        shape
        for height in tall.values()
        for width in tall.values()
        for shape in _shapes_of(prepare, height, width)
    }
    if "image" in engine.info:  # where an animal must stand out, only its crops can be made up
        shapes |= set(_shapes_of(prepare, *engine.info["image"][:2]))
    return sorted(shapes, key=lambda shape: (shape[0] != shape[1], shape))


def _varies(prepare: Callable) -> bool:
    """Whether a large picture gives other inputs than a small one."""
    return _shapes_of(prepare, PROBE_SIDE, PROBE_STEP) != _shapes_of(
        prepare, PROBE_STEP, PROBE_STEP
    )


def _shapes_of(prepare: Callable, height: int, width: int) -> list[tuple[int, ...]]:
    try:
        return [prepare(np.zeros((height, width, 3), np.uint8)).inputs.shape[1:]]
    except UserError:  # nothing to be seen in an empty picture
        return []


def buckets(engine: Engine, shape: tuple[int, ...], batch_size: int) -> list[int]:
    """Sizes of batches that inputs of a shape go in; the last is the largest.

    Args:
      batch_size: config.predict.batch_size, which none exceeds.
    """
    pixels = CPU_PIXELS if engine.runs_on in ("cpu", "onnxruntime") else PIXELS
    most = min(MOST_ROWS, batch_size, pixels // (shape[0] * shape[1]))
    sizes = [batching.bucket(1, MOST_ROWS, engine.devices)]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes


def name_of(folder: str) -> str:
    """The name that a folder is served under: its last part, of letters that an address may have.

    Raises:
      UserError: nothing is left of it.
    """
    name = "".join(
        c for c in Path(folder).resolve().name if c.isascii() and (c.isalnum() or c in "-_.")
    )
    if not name.strip("."):
        raise UserError(f"workdir {folder!r}: give the folder a name of letters and digits")
    return name
