"""model.json: what a program needs to know of an exported model."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from jax import export
from ml_collections import ConfigDict

from jaxvision.export.programs import input_shape, least_shape
from jaxvision.exported.folder import FORMAT
from jaxvision.trained import Trained

INPUT = "images"
PACKAGES = ("jaxvision", "jax", "numpy", "onnx")


def describe(
    config: ConfigDict, trained: Trained, program: export.Exported, dtype: str
) -> dict[str, Any]:
    """model.json, but for the hashes of files and the metrics.

    Args:
      config: the run's.
      trained: its model.
      program: one of those exported, for the shapes.
      dtype: of the kept weights.
    """
    meaning = trained.task.predictor.meaning
    images = program.in_avals[-1]
    names = program.out_tree.unflatten(range(len(program.out_avals)))
    outputs = {
        name: {**_array(program.out_avals[i]), "meaning": meaning.get(name, "")}
        for name, i in names.items()
    }
    return {
        "format": FORMAT,
        "task": config.task,
        "classes": list(trained.info.get("classes") or ()),
        "input": {
            "name": INPUT,
            **_array(images),
            "least": least_shape(input_shape(trained.task.model)),
            "meaning": meaning.get(INPUT, ""),
        },
        "outputs": outputs,
        "fitted": trained.fitted,
        "step": trained.step,
        "weights_dtype": dtype,
        "info": trained.info,
        "config": kept_config(config),
        "versions": _versions(),
    }


def kept_config(config: ConfigDict) -> dict[str, Any]:
    """The config without paths of this machine; of `data.path` the last part stays, as a name."""
    kept = _without_paths(config.to_dict())
    kept["data"]["path"] = Path(config.data.path).name
    return kept


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(item) for name, item in value.items()}
    return "" if isinstance(value, str) and os.sep in value and Path(value).exists() else value


def _array(aval) -> dict[str, Any]:
    # An open size is a text.
    shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
    return {"shape": shape, "dtype": aval.dtype.name}


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions}
