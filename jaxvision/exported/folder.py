"""The folder of an exported model: what its model.json says, checked.

model.json           what the model is, and the sha256 of every other file
weights.safetensors  {'<collection>/<path>': array}
<platform>.stablehlo a program (jax.export): (weights, inputs) -> outputs
model.onnx           the same, with its weights
README.md            the model card
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.workdir import as_config

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
ONNX = "model.onnx"
CARD = "README.md"
FORMAT = 1  # of model.json; a larger one may mean what this code does not know
NEEDED = ("task", "config", "info", "fitted", "step", "input", "outputs", "files")


class Exported(NamedTuple):
    """An exported model's folder.

    Attributes:
      folder: its path.
      described: model.json.
      digest: of model.json, and through it of every file: 16 hexadecimal digits.
    """

    folder: Path
    described: dict[str, Any]
    digest: str

    @property
    def config(self) -> ConfigDict:
        """The run's config, as far as a model that is not trained any more has use for it."""
        return as_config(self.described["config"], self.folder / DESCRIPTION)


def program_name(platform: str) -> str:
    """The file that holds the program for a platform of jax: cpu, cuda, tpu, rocm."""
    return f"{platform}.stablehlo"


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds an exported model, be it incomplete, rather than a run."""
    if not folder or (Path(folder) / "config.json").exists():
        return False
    folder = Path(folder)
    return any((folder / name).exists() for name in (DESCRIPTION, WEIGHTS, ONNX))


def read(folder: str | Path) -> Exported:
    """Reads model.json.

    Raises:
      UserError: it is missing, damaged, of a newer format or of something else.
    """
    path = Path(folder) / DESCRIPTION
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: copy the exported folder again") from error
    try:
        described = json.loads(data)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): copy the exported folder again") from error
    version = described.get("format") if isinstance(described, dict) else None
    if not isinstance(version, int):
        raise UserError(f"{path} has no format number: it is not the model.json of --mode=export")
    if version > FORMAT:
        writer = described.get("versions", {}).get("jaxvision", "?")
        raise UserError(
            f"{path} has format {version}, written by jaxvision {writer}; this one reads up to "
            f"format {FORMAT}: update it, or export the model anew"
        )
    missing = [name for name in NEEDED if name not in described]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: export the model anew")
    return Exported(Path(folder), described, hashlib.sha256(data).hexdigest()[:16])


def read_file(exported: Exported, name: str) -> bytes:
    """A file of the folder, if it is the one that was exported.

    Raises:
      UserError: there is no such file, or it has other bytes.
    """
    path, wanted = exported.folder / name, exported.described["files"].get(name)
    if wanted is None:
        held = ", ".join(sorted(exported.described["files"]))
        raise UserError(f"{exported.folder} was exported without {name}; it has {held}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}, although {DESCRIPTION} lists it: copy the exported folder "
            "again"
        ) from error
    if hashlib.sha256(data).hexdigest() != wanted:
        raise UserError(
            f"{path} is not the file that was exported ({len(data):,} bytes with another sha256 "
            f"than in {DESCRIPTION}): copy the exported folder again"
        )
    return data


def read_variables(exported: Exported) -> dict[str, np.ndarray]:
    """The weights, {'params/head/kernel': float32 array}; those kept as float16 are widened.

    Raises:
      UserError: the file is missing, or is another than was exported.
    """
    return widened(read_file(exported, WEIGHTS))


def widened(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, float16 as float32."""
    from safetensors.numpy import load

    return {n: np.float32(a) if a.dtype == np.float16 else a for n, a in load(data).items()}


def check_inputs(exported: Exported, inputs: np.ndarray) -> None:
    """Compares inputs [n, ...] with the shape that the model was exported for.

    Raises:
      UserError: they do not fit.
    """
    described = exported.described["input"]
    wanted, least, given = described["shape"][1:], described["least"][1:], inputs.shape[1:]
    if len(given) != len(wanted) or not all(map(_fits, wanted, least, given)):
        raise UserError(
            f"{exported.folder} takes inputs of {_text(wanted)}, at least {_text(least)}, not "
            f"{_text(given)}: give data as it was trained on (data.image_size, data.channels)"
        )


def _fits(wanted: int | str, least: int, size: int) -> bool:
    """Whether a size is the number wanted, or what a text such as '32*h' or 'w' describes."""
    if isinstance(wanted, int):
        return size == wanted
    factor = re.match(r"(\d+)\*", wanted)
    return size >= least and size % int(factor[1] if factor else 1) == 0


def _text(shape) -> str:
    return " x ".join(map(str, shape))
