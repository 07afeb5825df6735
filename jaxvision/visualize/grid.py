"""Rows of pictures with a title over each column."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

GAP = 4  # pixels between panels
HEADER = 18  # pixels for the column titles


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
