"""The animal as a dark (or light) blob: its place, axis and size, without any learning."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Blob(NamedTuple):
    """The shape of an animal in a picture, from its image moments.

    Attributes:
      x, y: of the centroid, pixels.
      axis: unit vector (x, y) along the principal axis, towards the thinner end.
      length: four standard deviations along the axis, pixels: the length of an ellipse like it.
      area: pixels.
    """

    x: float
    y: float
    axis: tuple[float, float]
    length: float
    area: int


def blob_in_crop(image: np.ndarray, kind: str) -> Blob | None:
    """The blob in the middle of a crop; None where there is none.

    What is within a fifth of the way from the darkest to the brightest pixels counts as dark: that
    leaves out walls and shadows, which lie in between.

    Args:
      image: uint8 [H, W, C].
      kind: 'dark' or 'light'.
    """
    gray = image.mean(-1, dtype=np.float32)
    gray = gray if kind == "dark" else 255 - gray
    dark, bright = np.percentile(gray, [1, 90])
    mask = gray <= dark + 0.2 * (bright - dark)
    height, width = gray.shape
    ys, xs = np.ogrid[:height, :width]
    away = ((ys - (height - 1) / 2) / height) ** 2 + ((xs - (width - 1) / 2) / width) ** 2
    return _largest(mask, weight=np.exp(-away / (2 * 0.25**2)))


def blob_in_frame(frame: np.ndarray, background: np.ndarray, kind: str) -> Blob | None:
    """The largest blob that stands out from an empty scene; None where nothing does.

    Args:
      frame, background: gray [H, W] in grey levels.
      kind: 'dark' or 'light'.
    """
    above = background.astype(np.float32) - frame
    above = above if kind == "dark" else -above
    # Half of the strongest contrast parts an animal from its shadow.
    threshold = max(0.5 * float(np.percentile(above, 99.5)), 12.0)
    return _largest(above >= threshold, weight=None)


def _largest(mask: np.ndarray, weight: np.ndarray | None) -> Blob | None:
    """The component with the most pixels (with the largest sum of `weight`), without its tail."""
    # Opening with a disc of a twentieth of the animal's length removes what is as thin as a tail.
    radius = max(1, round(np.sqrt(mask.sum()) / 16))
    span = np.arange(-radius, radius + 1)
    disc = span[:, None] ** 2 + span**2 <= radius**2
    opened = ndimage.binary_opening(np.pad(mask, radius, mode="edge"), disc)
    opened = opened[radius:-radius, radius:-radius]
    labels, count = ndimage.label(opened if opened.any() else mask)
    if not count:
        return None
    sums = np.bincount(labels.ravel(), None if weight is None else weight.ravel())[1:]
    return _describe(labels == 1 + int(np.argmax(sums)))


def _describe(mask: np.ndarray) -> Blob:
    ys, xs = np.nonzero(mask)
    x, y = xs.mean(), ys.mean()
    dx, dy = xs - x, ys - y
    covariance = np.array([[(dx * dx).mean(), (dx * dy).mean()], [0.0, (dy * dy).mean()]])
    values, vectors = np.linalg.eigh(covariance, UPLO="U")
    axis = vectors[:, 1]
    along = dx * axis[0] + dy * axis[1]
    if (along**3).sum() < 0:  # the thinner end reaches further from the centroid
        axis = -axis
    length = 4 * float(np.sqrt(max(values[1], 0.0)))
    return Blob(float(x), float(y), (float(axis[0]), float(axis[1])), length, len(xs))
