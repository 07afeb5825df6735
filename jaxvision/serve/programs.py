"""A model's program for inputs of many shapes, traced once and kept.

Each shape of a batch is a program of its own for XLA, which keeps what it compiled; but tracing the
model's Python for each takes longer than reading that. So the model is traced once, for batches of
any shape (`jax.export`), and what comes of it lies in the cache folder.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from ml_collections import ConfigDict

import jaxvision
from jaxvision.cache import atomic_file, cache_dir
from jaxvision.trained import Trained

LEAST = 3  # of a free factor of a side: fewer strides than that are padding alone


def open_program(trained: Trained, config: ConfigDict, info: dict[str, Any]) -> Callable:
    """(variables, inputs uint8 [n, h, w, C]) -> {name: array [n, ...]}, jitted, for any n, h, w."""
    path = cache_dir() / "programs" / f"{_key(trained, config, info)}.stablehlo"
    if not path.exists():
        serialized = _trace(trained).serialize()
        with atomic_file(path) as file:
            file.write(serialized)
    return jax.jit(export.deserialize(bytearray(path.read_bytes())).call)


def _trace(trained: Trained) -> export.Exported:
    shape = trained.task.model.input_shape
    free = sorted({side.rpartition("*")[2] for side in shape if isinstance(side, str)})
    sizes = export.symbolic_shape(
        ", ".join(map(str, ("n", *shape))), constraints=[f"{name} >= {LEAST}" for name in free]
    )
    described = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), trained.variables
    )
    program = jax.jit(trained.task.model.predict)
    return export.export(program)(described, jax.ShapeDtypeStruct(sizes, np.uint8))


def _key(trained: Trained, config: ConfigDict, info: dict[str, Any]) -> str:
    """All that the program depends on; weights are its arguments."""
    digest = hashlib.sha256()
    shapes = jax.tree.map(lambda leaf: f"{leaf.shape}{leaf.dtype}", trained.variables)
    parts = (config.to_dict(), info, shapes, jax.__version__, jax.default_backend())
    digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
    root = Path(jaxvision.__path__[0])
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:32]
