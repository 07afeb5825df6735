"""Smooths the probabilities of faces over the frames of a camera."""

import math
from collections.abc import Callable
from typing import Any

from jaxvision.errors import UserError
from jaxvision.task import Prediction

SECONDS = 0.5  # after which an old frame counts a third, at strength 1


def mean(strength: float) -> Callable[[Prediction, float], Prediction]:
    """An exponential mean over time of each face's probabilities.

    A face goes on from the nearest one of the frame before whose middle is inside its box, or whose
    box its own middle is inside of; any other starts anew.

    Raises:
      UserError: strength is not above 0.
    """
    if not 0 < strength < math.inf:
        raise UserError(f"strength={strength}: give a number above 0, such as 1")
    before: list[dict[str, Any]] = []

    def smooth(prediction: Prediction, seconds: float) -> Prediction:
        nonlocal before
        record, share = prediction.record, 1 - math.exp(-seconds / (SECONDS * strength))
        if "faces" in record:
            faces = [_smoothed(face, _nearest(face, before), share) for face in record["faces"]]
            before = faces
            return prediction._replace(record={**record, "faces": faces})
        record = _smoothed(record, before[0] if before else None, share)
        before = [record]
        return prediction._replace(record=record)

    return smooth


def _smoothed(face: dict[str, Any], old: dict[str, Any] | None, share: float) -> dict[str, Any]:
    if old is None:
        return face
    p = {
        name: round(old["probabilities"][name] + share * (value - old["probabilities"][name]), 6)
        for name, value in face["probabilities"].items()
    }
    return {**face, "label": max(p, key=p.get), "probabilities": p}


def _nearest(face: dict[str, Any], faces: list[dict[str, Any]]) -> dict[str, Any] | None:
    near = [other for other in faces if _inside(face, other) or _inside(other, face)]
    return min(near, key=lambda other: math.dist(_middle(face), _middle(other)), default=None)


def _middle(face: dict[str, Any]) -> tuple[float, float]:
    x, y, width, height = face["box"]
    return x + width / 2, y + height / 2


def _inside(face: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the middle of one is inside the box of the other."""
    (x, y), (left, top, width, height) = _middle(face), other["box"]
    return left <= x <= left + width and top <= y <= top + height
