"""The window of a picture that a keypoint network sees, and the way back to its pixels."""

from typing import NamedTuple

import numpy as np
from PIL import Image


class View(NamedTuple):
    """A window of a picture, scaled to the network's input.

    Attributes:
      left, top: of the window, whole pixels of the picture; may lie outside.
      width, height: of the window, pixels of the picture.
      scale: pixels of the picture for one of the input.
    """

    left: int
    top: int
    width: int
    height: int
    scale: float

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Positions [..., 2] in the picture -> in the input; (0, 0) is the first pixel's centre."""
        return (points - (self.left, self.top) + 0.5) / self.scale - 0.5

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_input`."""
        return (points + 0.5) * self.scale - 0.5 + (self.left, self.top)


def whole(height: int, width: int, size: int) -> View:
    """All of a picture; with `size`, scaled to that longer side and filled up to a square."""
    if not size:
        return View(0, 0, width, height, 1.0)
    side = max(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return View(left, top, side, side, side / size)


def around(x: float, y: float, crop: int, size: int) -> View:
    """A square of `crop` pixels about a point, scaled to `size` pixels (0: not scaled)."""
    left, top = (round(float(c) + 0.5 - crop / 2) for c in (x, y))
    return View(left, top, crop, crop, crop / (size or crop))


def cut(image: np.ndarray, view: View) -> np.ndarray:
    """The window's pixels at the input's scale; outside, the picture's edge pixels go on.

    Args:
      image: uint8 [H, W, C].

    Returns:
      uint8 [height / scale, width / scale, C].
    """
    height, width = image.shape[:2]
    rows = np.clip(np.arange(view.top, view.top + view.height), 0, height - 1)
    columns = np.clip(np.arange(view.left, view.left + view.width), 0, width - 1)
    window = image[rows[:, None], columns]
    if view.scale == 1:
        return window
    size = tuple(max(1, round(side / view.scale)) for side in (view.width, view.height))
    filter_ = Image.Resampling.BOX if view.scale > 1 else Image.Resampling.BILINEAR
    if window.shape[2] == 1:
        return np.asarray(Image.fromarray(window[..., 0]).resize(size, filter_))[..., None]
    return np.asarray(Image.fromarray(window).resize(size, filter_))


def gray(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [H, W, 1], with the weights of ITU-R BT.601 luma."""
    if image.shape[2] == 1:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))[..., None]
