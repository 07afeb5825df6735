"""The second way: a small JPEG frame is looked at on the server, in memory, and forgotten."""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.tasks.classification.faces import Box, make_detector
from jaxvision.tasks.classification.predictor import cut_face
from learning_platform import expression_model
from learning_platform.expression_model import MARGIN, ExpressionModel

FRAME_BYTES = 64 * 2**10
FRAME_PIXELS = 640  # longest side
LOW_LIGHT = 40  # mean of the frame's gray levels, 0..255; panel.js has the same


def decode_frame(body: bytes) -> np.ndarray:
    """A JPEG frame as uint8 [H, W, 3].

    Raises:
      ValueError: too large, or not a JPEG picture.
    """
    if len(body) > FRAME_BYTES:
        raise ValueError(f"a frame has at most {FRAME_BYTES} bytes, this one {len(body)}")
    try:
        picture = Image.open(io.BytesIO(body), formats=["JPEG"])
        if max(picture.size) > FRAME_PIXELS:
            raise ValueError(f"a frame has at most {FRAME_PIXELS} pixels a side: {picture.size}")
        return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a JPEG picture: {error}") from error


@functools.lru_cache(maxsize=1)
def _detector():
    return make_detector("")


def look_at(model: ExpressionModel, body: bytes) -> dict[str, Any]:
    """What the page wants to know of a frame.

    Returns:
      face: whether one was found; low_light; probabilities {label: p}, or None without a face.

    Raises:
      ValueError: the body is no frame.
    """
    pixels = decode_frame(body)
    low_light = bool(pixels.mean() < LOW_LIGHT)
    faces: list[Box] = _detector()(pixels)
    if not faces:
        return {"face": False, "low_light": low_light, "probabilities": None}
    largest = max(faces, key=lambda box: box.width * box.height)
    cut = Image.fromarray(cut_face(pixels, largest, MARGIN))
    cut = cut.resize((model.side, model.side), Image.Resampling.BILINEAR)
    face = np.asarray(cut.convert("L" if model.channels == 1 else "RGB"))
    face = face.reshape(model.side, model.side, model.channels)
    probabilities = expression_model.predict(model, face)
    return {"face": True, "low_light": low_light, "probabilities": probabilities}
