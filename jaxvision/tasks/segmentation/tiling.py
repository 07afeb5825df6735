"""A picture of any size as overlapping tiles, and their probabilities blended into whole rows.

Tiles are as few as `predict.tile` and `predict.overlap` need, and then as small as so many can be:
600 x 600 pixels are four tiles of 384, not of 512, and 256 x 256 one of 256 that needs no blending.

Where tiles overlap their probabilities are blended: the outer quarter of the overlap is left out,
since pixels there saw the least around them, and the rest fades from one tile to the next by a
raised cosine. So a model that looks at most overlap / 4 pixels far gives what it would give for the
whole picture at once, and others show no edge.

Tiles can be cut row of tiles by row of tiles. The host then holds one such row and what is on its
way through the model: memory grows with the width of the picture, not with its height.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

LEAST_SIDE = 96  # of a tile, pixels: three of the network's strides, what an export takes at least


class Axis(NamedTuple):
    """How one axis of a picture is cut.

    Attributes:
      length: of the picture, pixels.
      tile: side of a tile.
      overlap: of neighbouring tiles; the last one may overlap more.
    """

    length: int
    tile: int
    overlap: int

    @property
    def padding(self) -> int:
        """Pixels that a tile reaches beyond the picture, in all; half of them before it."""
        return max(self.tile - self.length, 0)

    @property
    def starts(self) -> list[int]:
        """Where tiles start, in the picture or its extension; the last one ends with it."""
        last = max(self.length, self.tile) - self.tile
        return [*range(0, last, self.tile - self.overlap), last]

    @property
    def inside(self) -> slice:
        """The picture in its extension."""
        before = self.padding // 2
        return slice(before, before + self.length)

    @property
    def index(self) -> np.ndarray:
        """Pixels of the axis, extended by reflection as often as it takes."""
        before = self.padding // 2
        return np.pad(np.arange(self.length), (before, self.padding - before), mode="reflect")


def choose_axis(length: int, tile: int, overlap: int) -> Axis:
    """The fewest tiles of at most `tile` pixels, and their least side.

    Sides are multiples of a quarter of `tile`, so that few programs are compiled.

    Args:
      length: of the picture, pixels.
      tile: a multiple of 128.
      overlap: below `tile`.
    """
    step = max(tile // 4, LEAST_SIDE)
    count = 1 + max(0, -(-(length - tile) // (tile - overlap)))
    needed = -(-(length + (count - 1) * overlap) // count)
    return Axis(length, min(tile, -(-needed // step) * step), overlap)


def cut(picture: np.ndarray, down: Axis, across: Axis) -> np.ndarray:
    """All tiles, row by row: uint8 [N, down.tile, across.tile, 3].

    A picture smaller than a tile is extended by reflection, evenly on both sides. One that is a
    tile is not copied.
    """
    if down.padding:
        picture = picture[down.index]
    if across.padding:
        picture = picture[:, across.index]
    if len(down.starts) == len(across.starts) == 1:
        return picture[None]
    windows = [np.s_[y : y + down.tile, x : x + across.tile] for y in down.starts
               for x in across.starts]  # fmt: skip
    return np.stack([picture[window] for window in windows])


def cut_rows(
    read: Callable[[int, int], np.ndarray], down: Axis, across: Axis
) -> Iterator[np.ndarray]:
    """The tiles of `cut`, one by one.

    Args:
      read: (top, bottom) -> uint8 [bottom - top, width, 3]; asked for every row once, in order.
    """
    band, start, bottom = None, 0, 0
    for top in down.starts:
        end = min(top + down.tile, down.length)
        rows = read(bottom, end)
        if across.padding:
            rows = rows[:, across.index]
        if down.padding:
            rows = rows[down.index]
        band = rows if band is None else np.concatenate([band[top - start :], rows])
        start, bottom = top, end
        yield from (band[:, left : left + across.tile] for left in across.starts)


def join(probabilities: np.ndarray, down: Axis, across: Axis) -> np.ndarray:
    """Probabilities of all tiles [N, down.tile, across.tile] -> of the picture, float32 [H, W].

    Here and below a last axis of classes may follow, which stays.
    """
    if len(probabilities) == 1:
        return probabilities[0, down.inside, across.inside]
    return np.concatenate(list(join_rows(iter(probabilities), down, across)))


def join_rows(
    probabilities: Iterator[np.ndarray], down: Axis, across: Axis
) -> Iterator[np.ndarray]:
    """As `join`, from one tile after the other; yields float32 [rows, W] from the top."""
    for rows in blended_rows(probabilities, down, across):
        # Rows are cut off only where the picture is lower than a tile: it is then one piece.
        yield rows[down.inside if down.padding else slice(None), across.inside]


def blend_weights(axis: Axis) -> np.ndarray:
    """Weights along one axis, float32 [tiles, tile]; no fading at the two ends of the picture.

    Zero over a quarter of the overlap, then a raised cosine, then one. Two tiles that overlap by
    `overlap` add up to one; tiles that overlap more always to something positive.
    """
    margin = axis.overlap // 4
    steps = axis.overlap - 2 * margin
    rise = np.ones(axis.tile, np.float32)
    rise[:margin] = 0
    rise[margin : margin + steps] = np.sin(np.pi / 2 * (np.arange(steps) + 0.5) / steps) ** 2
    weights = np.ones((len(axis.starts), axis.tile), np.float32)
    weights[1:] *= rise
    weights[:-1] *= rise[::-1]
    return weights


def blended_rows(
    probabilities: Iterator[np.ndarray], down: Axis, across: Axis
) -> Iterator[np.ndarray]:
    """Weighted mean of overlapping tiles, as rows that no later tile reaches.

    Args:
      probabilities: float32 [down.tile, across.tile] each, in the order of `cut`.

    Yields:
      float32 [rows, width of the extended picture]: as many rows as lie between two starts, and
      `down.tile` for the last.
    """
    tops, lefts, tile = down.starts, across.starts, down.tile
    weights_down, weights_across = blend_weights(down), blend_weights(across)
    first = next(probabilities)
    probabilities = itertools.chain([first], probabilities)
    total = np.zeros((tile, lefts[-1] + across.tile), np.float32)
    mean = np.zeros((*total.shape, *first.shape[2:]), np.float32)
    for i, (top, following) in enumerate(zip(tops, [*tops[1:], tops[-1] + tile], strict=True)):
        for j, left in enumerate(lefts):
            window = np.s_[:, left : left + across.tile]
            weight = np.outer(weights_down[i], weights_across[j])
            total[window] += weight
            share = np.divide(weight, total[window], out=np.zeros_like(weight), where=weight > 0)
            # A running mean, not a sum divided at the end: tiles that agree then give their
            # probability exactly, so a pixel at the threshold does not depend on the tiling.
            share = share.reshape(*share.shape, *[1] * (mean.ndim - 2))
            mean[window] += share * (next(probabilities) - mean[window])
        done = following - top
        yield mean[:done].copy()
        for rows in (mean, total):
            rows[: tile - done] = rows[done:].copy()
            rows[tile - done :] = 0
