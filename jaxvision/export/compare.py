"""An exported folder against the model that it was made from, on real pictures."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvision.engine import Engine
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.task import Report

BATCHES = (1, 8)
# Largest difference, as a share of the output's largest number. A program runs the model's own
# operations. onnxruntime sums in another order: mostly below 1e-5, for the worst of the millions of
# pixels of segmented photos 1.5e-5; either of both is some 1e-5 from float64.
TOLERANCE = {"auto": 1e-6, "onnx": 3e-5}


class Difference(NamedTuple):
    """How far an engine's output is from the model's, at its worst.

    Attributes:
      output: its name.
      absolute: in its own unit.
      relative: to the output's largest number.
    """

    output: str
    absolute: float
    relative: float


def example_inputs(config: ConfigDict, report: Report) -> np.ndarray:
    """Inputs of BATCHES[-1] rows of the config's data, of val, test or train: uint8 [8, ...].

    Raises:
      UserError: the data is not there.
    """
    dataset = report.adapt(loader.load_dataset(config))
    name = next(n for n in ("val", "test", "train") if n in dataset.splits)
    split = dataset.splits[name]
    numbers = np.linspace(0, len(split.names) - 1, BATCHES[-1]).astype(int)
    rows = [split.read(int(i)) for i in numbers]
    batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.asarray(report.inputs(batch))


def differences(
    reference: Callable[[np.ndarray], dict[str, Any]], engine: Engine, inputs: np.ndarray
) -> list[Difference]:
    """Of each output the worst over batches of several sizes.

    Args:
      reference: the model: uint8 [n, ...] -> {name: array}.
      engine: what was exported.
      inputs: at least BATCHES[-1] rows.
    """
    worst = {}
    for size in BATCHES:
        # TF32, where a GPU has it, would differ more than the programs do.
        with jax.default_matmul_precision("highest"):
            wanted = jax.device_get(reference(inputs[:size]))
        given = jax.device_get(engine.predict(inputs[:size]))
        for name, array in wanted.items():
            apart = float(np.abs(array.astype(np.float64) - given[name]).max())
            relative = apart / max(float(np.abs(array).max()), 1e-30)
            if name not in worst or relative > worst[name].relative:
                worst[name] = Difference(name, apart, relative)
    return list(worst.values())


def check(apart: list[Difference], engine: Engine, tolerance: float) -> str:
    """One line that tells the largest difference.

    Raises:
      UserError: it is beyond the tolerance, or no number.
    """
    worst = max(apart, key=lambda d: d.relative if np.isfinite(d.relative) else np.inf)
    line = f"{worst.relative:.1e} of the largest {worst.output} ({worst.absolute:.1e})"
    if not worst.relative <= tolerance:
        raise UserError(
            f"not exported: on {engine.runs_on} the result differs from the model's by {line}, "
            f"more than {tolerance:g}: report this with the config, or export with another jax"
        )
    return line
