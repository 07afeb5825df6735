"""Rows of pictures with a title over each column, and what is laid over a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

GAP = 4  # pixels between panels
HEADER = 18  # pixels for the column titles
# From dark blue over green to yellow, even in brightness: matplotlib's viridis at five points.
_COLOURS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])


def image_grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> np.ndarray:
    """Lays pictures out as a grid on white.

    Args:
      rows: of panels, each uint8 [H, W, 3], all of one size.
      titles: one a column.

    Returns:
      uint8 [H', W', 3].
    """
    height, width = rows[0][0].shape[:2]
    canvas = np.full(
        (HEADER + len(rows) * (height + GAP), len(titles) * (width + GAP) - GAP, 3), 255, np.uint8
    )
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            top, left = HEADER + y * (height + GAP), x * (width + GAP)
            canvas[top : top + height, left : left + width] = panel
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for x, title in enumerate(titles):
        draw.text((x * (width + GAP) + 2, 3), title, fill=(0, 0, 0))
    return np.asarray(picture)


def mask_panel(mask: np.ndarray) -> np.ndarray:
    """bool or probability [H, W] -> gray uint8 [H, W, 3]."""
    gray = (np.clip(mask.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


# Told apart with any colour vision: found (green-blue), false alarm (orange), missed (magenta).
HIT, FALSE_ALARM, MISSED = (0, 170, 150), (255, 150, 0), (220, 0, 160)


def error_overlay(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Colours an image by right and wrong.

    Args:
      image: uint8 [H, W, 3].
      truth, predicted: bool [H, W].

    Returns:
      uint8 [H, W, 3].
    """
    result = image.astype(np.float32)
    for where, colour in (
        (truth & predicted, HIT),
        (~truth & predicted, FALSE_ALARM),
        (truth & ~predicted, MISSED),
    ):
        result[where] = 0.4 * result[where] + 0.6 * np.array(colour, np.float32)
    return result.astype(np.uint8)


def heat_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over its image.

    Args:
      image: uint8 [H, W, C], gray or RGB.
      heat: float [H, W] in [0, 1].

    Returns:
      uint8 [H, W, 3]: the image in gray, coloured from dark blue (0) to yellow (1).
    """
    gray = image.astype(np.float32).mean(axis=-1, keepdims=True)
    position = np.clip(heat, 0, 1) * (len(_COLOURS) - 1)
    low = np.clip(position.astype(int), 0, len(_COLOURS) - 2)
    share = (position - low)[..., None]
    colour = _COLOURS[low] * (1 - share) + _COLOURS[low + 1] * share  # [H, W, 3]
    return np.clip(0.5 * gray + 0.5 * colour, 0, 255).astype(np.uint8)
