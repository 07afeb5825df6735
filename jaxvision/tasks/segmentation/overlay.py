"""Masks over pictures, for the eye: at full size, and side by side at a size to look at."""

import numpy as np
from PIL import Image

PANEL_PIXELS = 2048  # the longest side of a panel in the side by side picture
MASK_COLOUR = np.float32((255, 60, 0))
GAP = 8  # pixels between panels


def mask_over(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture, uint8 [H, W, 3], half covered by MASK_COLOUR where mask, bool [H, W], is set."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = to_uint8(0.5 * levels + 0.5 * MASK_COLOUR)  # [256, 3]
    result = picture.copy()
    result[mask] = table[picture[mask], [0, 1, 2]]
    return result


class BlockMeans:
    """A picture reduced to PANEL_PIXELS or less a side: means over square blocks of pixels."""

    def __init__(self, height: int, width: int, channels: int):
        self.block = -(-max(height, width) // PANEL_PIXELS)
        self.columns = np.arange(0, width, self.block)
        blocks = np.arange(0, height, self.block)
        self.sums = np.zeros((len(blocks), len(self.columns), channels), np.uint32)
        across = np.diff(self.columns, append=width)
        self.pixels = np.outer(np.diff(blocks, append=height), across)[:, :, None]
        self.next_row = 0

    def add(self, rows: np.ndarray) -> None:
        """rows: uint8 [n, width, channels], the next ones down the picture."""
        end = self.next_row + len(rows)
        first = self.next_row // self.block
        starts = np.arange(first * self.block, end, self.block) - self.next_row
        sums = np.add.reduceat(rows, starts.clip(0), axis=0, dtype=np.uint32)
        sums = np.add.reduceat(sums, self.columns, axis=1)
        self.sums[first : first + len(sums)] += sums
        self.next_row = end

    def means(self) -> np.ndarray:
        """uint8 [blocks down, blocks across, channels]."""
        return np.stack([to_uint8(s / n) for s, n in zip(self.sums, self.pixels, strict=True)])


def reduced(picture: np.ndarray) -> np.ndarray:
    """A whole picture, uint8 [H, W, channels], as `BlockMeans` reduces it."""
    if max(picture.shape[:2]) <= PANEL_PIXELS:
        return picture
    blocks = BlockMeans(*picture.shape)
    blocks.add(picture)
    return blocks.means()


def side_by_side(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The picture | the mask over it.

    Args:
      image: uint8 [H, W, 3].
      mask: uint8 [H, W, 1], 255 where all is building.
    """
    gap = np.full((GAP, 3), 255, np.uint8)
    rows = []
    for colours, share in zip(image, mask, strict=True):  # by rows: floats take four times more
        opacity = share / np.float32(2 * 255)
        overlay = colours * (1 - opacity) + MASK_COLOUR * opacity
        rows.append(np.concatenate([colours, gap, to_uint8(overlay)]))
    return Image.fromarray(np.stack(rows))


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded to uint8."""
    return values.round().astype(np.uint8)
