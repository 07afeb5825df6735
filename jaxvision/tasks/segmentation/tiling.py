"""A model over a picture of any size: overlapping square tiles, blended into whole rows.

Tiles are cut row of tiles by row of tiles. Where they overlap their probabilities are blended: the
outer quarter of the overlap is left out, since pixels there saw the least around them, and the rest
fades from one tile to the next by a raised cosine. So a model that looks at most overlap / 4 pixels
far gives what it would give for the whole picture at once, and others show no edge.

The host holds one row of tiles and what is on its way through the model: memory grows with the
width of the picture, not with its height.
"""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxvision.input_pipeline.parallel import counted

IN_FLIGHT = 2  # batches: one is cut while the device works on the other


def probability_rows(
    predict: Callable[[np.ndarray], Any],
    read: Callable[[int, int], np.ndarray],
    height: int,
    width: int,
    *,
    tile: int,
    overlap: int,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Yields the probability, float32 [rows, width], from the top of the picture to its end.

    A picture smaller than a tile is extended by reflection, evenly on both sides; in a larger one
    the last tiles are moved inward. Only where tiles overlap is a probability a blend.

    Args:
      predict: uint8 [batch_size, tile, tile, 3] -> probability [batch_size, tile, tile]; always
        called with this one shape, so it compiles once.
      read: (top, bottom) -> uint8 [bottom - top, width, 3]; asked for every row once, in order.
      tile, overlap: pixels; overlap < tile.
    """
    row_index, column_index = _reflected(height, tile), _reflected(width, tile)
    tops = tile_starts(len(row_index), tile, overlap)
    lefts = tile_starts(len(column_index), tile, overlap)
    bands = _bands(read, tops, tile, row_index, column_index)
    tiles = (band[:, left : left + tile] for band in bands for left in lefts)
    probabilities = _in_batches(predict, tiles, batch_size)
    probabilities = counted(probabilities, "predicting tiles", len(tops) * len(lefts))
    above, aside = max(tile - height, 0) // 2, max(tile - width, 0) // 2
    for rows in blended_rows(probabilities, tops, lefts, tile, overlap):
        # Rows are cut off only where the picture is lower than a tile: it is then one piece.
        yield rows[above : above + height, aside : aside + width]


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along an axis of at least `tile` pixels; the last ends with the axis."""
    last = length - tile
    return [*range(0, last, tile - overlap), last]


def blend_weights(count: int, tile: int, overlap: int) -> np.ndarray:
    """Weights along one axis, float32 [count, tile]; no fading at the two ends of the picture.

    Zero over a quarter of the overlap, then a raised cosine, then one. Two tiles that overlap by
    `overlap` add up to one; tiles that overlap more always to something positive.
    """
    margin = overlap // 4
    steps = overlap - 2 * margin
    rise = np.ones(tile, np.float32)
    rise[:margin] = 0
    rise[margin : margin + steps] = np.sin(np.pi / 2 * (np.arange(steps) + 0.5) / steps) ** 2
    weights = np.ones((count, tile), np.float32)
    weights[1:] *= rise
    weights[:-1] *= rise[::-1]
    return weights


def blended_rows(
    probabilities: Iterator[np.ndarray], tops: list[int], lefts: list[int], tile: int, overlap: int
) -> Iterator[np.ndarray]:
    """Weighted mean of overlapping tiles, as rows that no later tile reaches.

    Args:
      probabilities: float32 [tile, tile] each, in reading order: for top in tops, for left in
        lefts.

    Yields:
      float32 [rows, width]: tops[i + 1] - tops[i] rows, and `tile` rows for the last.
    """
    width = lefts[-1] + tile
    down, across = (blend_weights(len(starts), tile, overlap) for starts in (tops, lefts))
    mean, total = np.zeros((2, tile, width), np.float32)
    for i, (top, following) in enumerate(zip(tops, [*tops[1:], tops[-1] + tile], strict=True)):
        for j, left in enumerate(lefts):
            window = np.s_[:, left : left + tile]
            weight = np.outer(down[i], across[j])
            total[window] += weight
            share = np.divide(weight, total[window], out=np.zeros_like(weight), where=weight > 0)
            # A running mean, not a sum divided at the end: tiles that agree then give their
            # probability exactly, so a pixel at the threshold does not depend on the tiling.
            mean[window] += share * (next(probabilities) - mean[window])
        done = following - top
        yield mean[:done].copy()
        for rows in (mean, total):
            rows[: tile - done] = rows[done:].copy()
            rows[tile - done :] = 0


def _reflected(length: int, tile: int) -> np.ndarray:
    """Indices of an axis extended to `tile` pixels by reflection, as often as it takes."""
    before = max(tile - length, 0) // 2
    after = max(tile - length, 0) - before
    return np.pad(np.arange(length), (before, after), mode="reflect")


def _bands(
    read: Callable[[int, int], np.ndarray],
    tops: list[int],
    tile: int,
    row_index: np.ndarray,
    column_index: np.ndarray,
) -> Iterator[np.ndarray]:
    """One uint8 [tile, >= tile, 3] a row of tiles; every row of the picture is read once."""
    height = row_index.max() + 1
    band, start, bottom = None, 0, 0
    for top in tops:
        end = min(top + tile, height)
        rows = read(bottom, end)
        if len(column_index) > rows.shape[1]:
            rows = rows[:, column_index]
        if len(row_index) > height:
            rows = rows[row_index]
        band = rows if band is None else np.concatenate([band[top - start :], rows])
        start, bottom = top, end
        yield band


def _in_batches(
    predict: Callable[[np.ndarray], Any], tiles: Iterator[np.ndarray], batch_size: int
) -> Iterator[np.ndarray]:
    """predict over all tiles, in their order, in batches of one shape; float32 [tile, tile] each.

    A batch runs on into the next row of tiles, so a narrow picture still fills batches.
    """
    running = collections.deque()
    while chosen := list(itertools.islice(tiles, batch_size)):
        images = np.zeros((batch_size, *chosen[0].shape), np.uint8)  # zeros fill up the last batch
        np.stack(chosen, out=images[: len(chosen)])
        running.append((predict(images), len(chosen)))
        if len(running) == IN_FLIGHT:
            yield from _fetch(*running.popleft())
    for batch in running:
        yield from _fetch(*batch)


def _fetch(probability: Any, count: int) -> np.ndarray:
    return np.asarray(probability)[:count].astype(np.float32)  # whole first: slices compile
