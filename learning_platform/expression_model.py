"""The exported expression network: the only place that knows the fields of its model.json.

Another model is put in by naming another folder; its file `model.onnx` takes faces as uint8
[b, S, S, C] and gives `logits` float32 [b, K]; probabilities are softmax(logits / temperature).
"""

import functools
import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvision.errors import UserError

MARGIN = 0.1  # added to each side of a found face, as a share of it, as in configs/fer.py


@dataclass(frozen=True)
class ExpressionModel:
    """classes: K names; side: S in pixels; channels: C, 1 or 3; version: of the file's bytes."""

    onnx: Path
    classes: tuple[str, ...]
    temperature: float
    side: int
    channels: int
    input_name: str
    output_name: str
    version: str


@functools.lru_cache(maxsize=4)
def load(folder: str) -> ExpressionModel:
    """Reads an exported model's description.

    Raises:
      UserError: no such folder, or not the export of a classifier of small pictures.
    """
    path = Path(folder)
    if not (path / "model.json").is_file() or not (path / "model.onnx").is_file():
        raise UserError(
            f"--model={folder} has no model.json and model.onnx: give the folder of an exported "
            "expression model, as --model=zoo/fer, or make one with main.py --mode=export"
        )
    try:
        described = json.loads((path / "model.json").read_text())
        name, shape, dtype = (described["input"][key] for key in ("name", "shape", "dtype"))
        model = ExpressionModel(
            onnx=(path / "model.onnx").resolve(),
            classes=tuple(map(str, described["classes"])),
            temperature=float(described.get("fitted", {}).get("temperature", 1.0)),
            side=int(shape[1]),
            channels=int(shape[3]),
            input_name=name,
            output_name=next(key for key in described["outputs"] if key == "logits"),
            version=hashlib.sha256((path / "model.onnx").read_bytes()).hexdigest()[:16],
        )
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise UserError(
            f"--model={folder}: model.json does not describe an expression model ({error!r}): it "
            "needs classes, input (name, shape, dtype) and outputs.logits"
        ) from error
    if dtype != "uint8" or shape[1] != shape[2] or model.channels not in (1, 3):
        raise UserError(
            f"--model={folder} takes {dtype} {shape}: the platform gives uint8 [b, S, S, 1 or 3]"
        )
    return model


_busy = threading.Lock()


@functools.lru_cache(maxsize=1)
def _session(path: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predict(model: ExpressionModel, face: np.ndarray) -> dict[str, float]:
    """Probabilities of one face on the server (the second way).

    Args:
      face: uint8 [S, S, C].
    """
    with _busy:
        (logits,) = _session(str(model.onnx)).run(
            [model.output_name], {model.input_name: face[None]}
        )
    scaled = logits[0].astype(np.float64) / model.temperature
    odds = np.exp(scaled - scaled.max())
    return dict(zip(model.classes, (odds / odds.sum()).tolist(), strict=True))
