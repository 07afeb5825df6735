"""A row a picture, for predictions of many: its class, or its largest face's, and all faces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision.task import Prediction


def columns(classes: Sequence[str], whole: bool) -> dict[str, Any]:
    """Names and types, as of `Predictor.columns`.

    Args:
      classes: their names.
      whole: predict.faces=never; else there is also 'faces', from left to right.
    """
    size = {"width": int, "height": int}
    answer = {"label": str, "probability": float}
    answer |= {f"probability_{name}": float for name in classes}
    place = {"left": int, "top": int, "width": int, "height": int, "score": float}
    return {**size, **answer} if whole else {**size, **answer, "faces": [{**place, **answer}]}


def row(prediction: Prediction, path: Path | None) -> dict[str, Any]:
    """The values; of a picture without a face label and probabilities are left out."""
    del path
    record = prediction.record
    size = {"width": record["width"], "height": record["height"]}
    if "faces" not in record:
        return {**size, **_answer(record)}
    found = record["faces"]
    faces = [
        {
            **dict(zip(("left", "top", "width", "height"), map(int, face["box"]), strict=True)),
            "score": face["score"],
            **_answer(face),
        }
        for face in found
    ]
    largest = max(found, key=lambda face: face["box"][2] * face["box"][3], default=None)
    return {**size, **(_answer(largest) if largest else {}), "faces": faces}


def _answer(labelled: dict[str, Any]) -> dict[str, Any]:
    label, named = labelled["label"], labelled["probabilities"]
    each = {f"probability_{name}": value for name, value in named.items()}
    return {"label": label, "probability": named[label], **each}
