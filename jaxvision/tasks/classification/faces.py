"""Faces in a picture, found by OpenCV (extra [faces])."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxvision.errors import UserError

LONGEST = 1280  # pixels; larger pictures are searched reduced to this
YUNET_SCORE = 0.7


class Box(NamedTuple):
    """A face: left, top, width and height in pixels of the picture; the detector's score."""

    x: int
    y: int
    width: int
    height: int
    score: float | None


def make_detector(model: str) -> Callable[[np.ndarray], list[Box]]:
    """A function uint8 [H, W, 3] RGB -> faces, from left to right.

    Args:
      model: path of YuNet's weights (face_detection_yunet_2023mar.onnx of OpenCV's model zoo; Wu et
        al. 2023), which also finds turned and small faces; '' is the Haar cascade that comes with
        OpenCV (Viola and Jones 2001), for upright faces seen from the front, without a score.

    Raises:
      UserError: OpenCV is not installed or comes without what is needed; no such file, or it is not
        YuNet.
    """
    cv2 = _require_cv2()
    find = _yunet(cv2, model) if model else _haar(cv2)

    def detect(pixels: np.ndarray) -> list[Box]:
        height, width = pixels.shape[:2]
        scale = min(1.0, LONGEST / max(height, width))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        boxes = [_inside(box, scale, width, height) for box in find(pixels)]
        return sorted(box for box in boxes if min(box.width, box.height) > 0)

    return detect


def _require_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            'finding faces needs OpenCV: pip install -e ".[faces]"; or predict.faces=never takes '
            "each picture as one face"
        ) from error
    return cv2


def _haar(cv2: Any) -> Callable[[np.ndarray], list[tuple]]:
    path = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_alt2.xml")
    if not hasattr(cv2, "CascadeClassifier") or not os.path.exists(path):
        raise UserError(
            f"OpenCV {cv2.__version__} has no Haar cascades (since 5.0): install "
            "opencv-python-headless<5, or give predict.detector, the path of YuNet's .onnx file"
        )
    cascade = cv2.CascadeClassifier(path)

    def find(pixels):
        gray = cv2.equalizeHist(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        least = max(24, min(gray.shape) // 20)
        faces = cascade.detectMultiScale(gray, 1.1, 4, minSize=(least, least))
        return [(*map(float, face), None) for face in faces]

    return find


def _yunet(cv2: Any, model: str) -> Callable[[np.ndarray], list[tuple]]:
    if not Path(model).is_file():
        raise UserError(
            f"predict.detector={model!r} does not exist: give YuNet's .onnx file, or ''"
        )
    try:
        network = cv2.FaceDetectorYN.create(model, "", (320, 320), YUNET_SCORE)
    except cv2.error as error:
        raise UserError(
            f"predict.detector={model!r} is not YuNet's .onnx file: {str(error).splitlines()[0]}"
        ) from error

    def find(pixels):
        network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, faces = network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        return [
            (*map(float, face[:4]), float(face[-1])) for face in (() if faces is None else faces)
        ]

    return find


def _inside(box: tuple, scale: float, width: int, height: int) -> Box:
    """A box of the reduced picture as whole pixels inside the full one."""
    x, y, w, h = (value / scale for value in box[:4])
    left, top = max(round(x), 0), max(round(y), 0)
    right, bottom = min(round(x + w), width), min(round(y + h), height)
    return Box(left, top, right - left, bottom - top, box[4])
