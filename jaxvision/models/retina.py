"""Where a retina looks, in numpy and JAX alike (Mnih et al. 2014, arXiv 1406.6247).

A location is (x, y) in [-1, 1]: (-1, -1) is the image's top left corner, (1, 1) its bottom right.
"""

from typing import NamedTuple

import numpy as np


class Retina(NamedTuple):
    """What one glimpse sees: `patches` squares around one point, each `scale` times the last.

    Attributes:
      size: pixels, the side of the first square and, after pooling, of every one.
      patches: how many.
      scale: ratio of their sides.
    """

    size: int
    patches: int
    scale: int

    @property
    def sides(self) -> list[int]:
        """Sides of the squares on the image, pixels."""
        return [self.size * self.scale**i for i in range(self.patches)]


def corner_pixels(locations, height: int, width: int):
    """(x, y) in [-1, 1] -> int32 (row, column) in pixels, the image's edges at 0 and its side.

    A square of side s around it covers rows row - s // 2 to row - s // 2 + s - 1; so on an image
    that is larger by half of the largest square on every side, that square starts at exactly this
    row and column.
    """
    xp = locations.__array_namespace__()
    extent = xp.asarray([height, width], dtype=xp.float32)
    return xp.round((locations[..., ::-1] + 1) / 2 * extent).astype(xp.int32)


def pooled_square(retina: Retina, window, side: int):
    """The middle `side` pixels of windows [B, S, S, C], averaged to the retina's size."""
    start = window.shape[1] // 2 - side // 2
    square = window[:, start : start + side, start : start + side]
    if side == retina.size:
        return square
    batch, _, _, channels = square.shape
    ratio = side // retina.size
    parts = square.reshape(batch, retina.size, ratio, retina.size, ratio, channels)
    return parts.mean((2, 4))  # [B, size, size, C]


def spread_points(count: int) -> np.ndarray:
    """`count` points, each as far as can be from those before it: the middle, corners, sides, ...

    Returns:
      float32 [count, 2], within two thirds of the way to the borders, where a patch still lies on
      the image for the most part.
    """
    side = np.linspace(-1, 1, 21)
    places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    points = np.zeros((1, 2))
    while len(points) < count:
        away = np.linalg.norm(places[:, None] - points, axis=-1).min(1)
        points = np.concatenate([points, places[[np.argmax(away.round(6))]]])
    return (points[:count] * 2 / 3).astype(np.float32)


def look_at_image(retina: Retina, image: np.ndarray, locations: np.ndarray) -> np.ndarray:
    """What the retina shows of one image, on the host, at each location.

    Args:
      image: uint8 [H, W, C].
      locations: [T, 2].

    Returns:
      float32 [T, patches, size, size, C] in [0, 1]; zero beyond the image's border.
    """
    side = retina.sides[-1]
    before, after = side // 2, side - side // 2
    padded = np.pad(image, ((before, after), (before, after), (0, 0)))
    corners = corner_pixels(np.asarray(locations, np.float32), *image.shape[:2])
    windows = [padded[row : row + side, column : column + side] for row, column in corners]
    windows = np.stack(windows).astype(np.float32) / 255  # [T, side, side, C]
    return np.stack([pooled_square(retina, windows, s) for s in retina.sides], axis=1)
