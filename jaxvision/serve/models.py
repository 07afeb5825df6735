"""Trained models to serve: opened, made ready, and exchanged for better ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxvision import batching
from jaxvision import engine as engine_lib
from jaxvision.engine import Engine
from jaxvision.errors import UserError
from jaxvision.exported import folder as exported_folder


def open_engine(config: ConfigDict, folder: str, kind: str = "auto") -> Engine:
    """The best checkpoint of a workdir, or an exported model, as `engine.open_engine` has it.

    Raises:
      UserError: nothing was trained there, or the folder is damaged.
    """
    engine = engine_lib.open_engine(config, folder, kind)
    trained = engine.trained
    if trained is None or trained.mesh.size > 1:  # a kept program is for one device
        return engine
    if not any(isinstance(side, str) for side in trained.task.model.input_shape):
        return engine
    from jaxvision.serve.programs import open_program
    from jaxvision.sharding import shard_batch

    program = open_program(trained, config, engine.info)

    def predict(inputs: np.ndarray) -> dict[str, Any]:
        return program(trained.variables, shard_batch(trained.mesh, inputs))

    return engine._replace(predict=predict)


def newest_best(config: ConfigDict, folder: str) -> int | None:
    """The step that `open_engine` would take now; None where there is none, or always the same."""
    if exported_folder.is_exported(folder):
        return None
    from jaxvision.checkpoint import open_checkpoints

    return open_checkpoints(folder, config.checkpoint.higher_is_better).best()


# ---- which programs are compiled before the first request --------------------------------------

# Of one batch on a CPU. Larger ones are no faster there, and while one is predicted the answers of
# the last go out: in batches of up to 8 FER answers 1,900 requests a second, of up to 32 1,320.
CPU_PIXELS, CPU_ROWS = 2**17, 8
PIXELS, MOST_ROWS = 2**21, 32  # on anything else
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
    on_cpu = engine.runs_on in ("cpu", "onnxruntime")
    pixels, rows = (CPU_PIXELS, CPU_ROWS) if on_cpu else (PIXELS, MOST_ROWS)
    most = min(rows, batch_size, pixels // (shape[0] * shape[1]))
    largest = engine.devices
    while 2 * largest <= most:
        largest *= 2
    return sorted({padded_size(n, largest, engine.devices) for n in range(1, largest + 1)})


def padded_size(rows: int, largest: int, devices: int) -> int:
    """What a batch of `rows` is filled up to: devices times 1, 2, 4, 6, 8, 12, 16, 24 or 32."""
    size = batching.bucket(rows, largest, devices)
    shorter = size * 3 // 4  # saves a quarter where few rows would be left over
    return shorter if size >= 8 * devices and rows <= shorter else size


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
