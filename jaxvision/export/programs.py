"""A model's `predict` as a program for a platform: any batch size, weights as arguments."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from jax import export

from jaxvision.task import Model

PLATFORMS = ("cpu", "cuda")
BATCH = "b"  # the open batch size
# What open sizes are at least, so that no comparison of them stays undecided: strides of a network
# that takes whole ones, pixels of one that takes any.
LEAST_STRIDES, LEAST_PIXELS = 2, 16


def of_flat(model: Model) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """`Model.predict` of {'params/head/kernel': array}: a file of weights is all that it takes."""

    def predict(weights, images):
        return model.predict(unflatten_dict(weights, sep="/"), images)

    return predict


def input_shape(model: Model) -> tuple[int | str, ...]:
    """Of a batch: ('b', 48, 48, 1)."""
    return (BATCH, *model.input_shape)


def constraints(shape: tuple[int | str, ...]) -> tuple[str, ...]:
    """What is known of open sizes: '32*h' gives 'h >= 2', a free 'h' 'h >= 16'."""
    parts = [size.rpartition("*") for size in shape[1:] if isinstance(size, str)]
    least = {symbol: LEAST_STRIDES if factor else LEAST_PIXELS for factor, _, symbol in parts}
    return tuple(f"{symbol} >= {size}" for symbol, size in least.items())


def least_shape(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    """The smallest batch that `constraints` allow: ('b', '32*h', 'w', 3) gives (1, 64, 16, 3)."""
    sizes = []
    for size in shape[1:]:
        if isinstance(size, str):
            factor = size.rpartition("*")[0]
            size = int(factor) * LEAST_STRIDES if factor else LEAST_PIXELS
        sizes.append(size)
    return (1, *sizes)


def lower(model: Model, weights: dict[str, Any], platform: str) -> export.Exported:
    """The program of a model for a platform, whatever platform this process runs on.

    Args:
      weights: {name: array}, for their shapes.
      platform: cpu, cuda, tpu or rocm.
    """
    shape = input_shape(model)
    sizes = export.symbolic_shape(", ".join(map(str, shape)), constraints=constraints(shape))
    images = jax.ShapeDtypeStruct(sizes, np.uint8)
    arguments = {n: jax.ShapeDtypeStruct(a.shape, a.dtype) for n, a in weights.items()}
    with _without_locations():
        return export.export(jax.jit(of_flat(model)), platforms=[platform])(arguments, images)


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Programs that name neither files of this machine nor modules: two thirds of the size."""
    before = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        with nn.override_named_call(False):
            yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)
