"""Outlines of objects, and the mask that they draw: what annotations in COCO or GeoJSON become.

A pixel belongs to an object where its centre lies inside the outline, so an outline along the edges
of pixels gives these pixels exactly. Coordinates are x to the right, y down, in pixels from the
outer corner of the top left pixel, as both formats have them.
"""

from typing import NamedTuple

import numpy as np

from jaxvision.input_pipeline.class_masks import IGNORE  # of what neither loss nor metrics count

__all__ = ["IGNORE", "Drawing", "Drawn", "Outline", "as_ring", "draw", "fill"]


class Outline(NamedTuple):
    """An object, or a part of one.

    Attributes:
      label: its mask value, 1 and up; IGNORE: many objects that nobody told apart from what lies
        between them (COCO's crowd).
      rings: float64 [n, 2] as bytes (which can be hashed). Inside is what an odd number of them
        goes around, so a hole is a ring of its own.
      runs: int64 as bytes: pixels outside and inside in turn, down the columns from the left, for
        an object that is given so (COCO's RLE); b'' where rings tell.
    """

    label: int
    rings: tuple[bytes, ...]
    runs: bytes = b""


class Drawing(NamedTuple):
    """All outlines of a picture.

    Attributes:
      height, width: pixels of the picture that they were drawn on; 0: its file tells.
      outlines: in any order.
    """

    height: int
    width: int
    outlines: tuple[Outline, ...]


class Drawn(NamedTuple):
    """A drawing as pixels.

    Attributes:
      mask: uint8 [H, W]: labels, 0 where no object is, IGNORE where nobody knows.
      disputed: pixels that objects of several labels claim; these are IGNORE.
      unseen: outlines that hold no pixel's centre: too thin, or beside the picture.
    """

    mask: np.ndarray
    disputed: int
    unseen: int


def draw(drawing: Drawing) -> Drawn:
    """The mask of a drawing; the order of its outlines does not matter."""
    mask = np.zeros((drawing.height, drawing.width), np.uint8)
    disputed, unseen = np.zeros(mask.shape, bool), 0
    for outline in sorted(drawing.outlines, key=lambda o: o.label == IGNORE):  # crowds last
        top, left, inside = _pixels(outline, drawing.height, drawing.width)
        place = np.s_[top : top + inside.shape[0], left : left + inside.shape[1]]
        part = mask[place]
        unseen += not inside.any()
        if outline.label == IGNORE:
            inside = inside & (part == 0)
        else:
            disputed[place] |= inside & (part != 0) & (part != outline.label)
        part[inside] = outline.label
    mask[disputed] = IGNORE
    return Drawn(mask, int(disputed.sum()), unseen)


def _pixels(outline: Outline, height: int, width: int) -> tuple[int, int, np.ndarray]:
    """Top and left of a box, and which of its pixels are inside: bool [h, w]."""
    if outline.runs:
        runs = np.frombuffer(outline.runs, np.int64)
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return 0, 0, inside.reshape(width, height).T
    return fill(outline.rings, height, width)


def fill(rings: tuple[bytes, ...], height: int, width: int) -> tuple[int, int, np.ndarray]:
    """The pixels whose centres lie inside rings: (top, left, bool [h, w]) of the box around them.

    Going right along a row of centres, each edge that is crossed is a step in or out.
    """
    points = [np.frombuffer(ring).reshape(-1, 2) for ring in rings]
    starts = np.concatenate(points)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in points])
    low, high = _first_centre(starts.min(0)), _first_centre(starts.max(0))
    left, top = np.clip(low, 0, (width, height))
    right, bottom = np.clip(high, 0, (width, height))
    # Rows whose centres an edge crosses: from `first` to below `last`, so that a corner that lies
    # on a row of centres counts for one of its two edges.
    ys = np.sort(np.stack([starts[:, 1], ends[:, 1]]), axis=0)
    first, last = np.clip(_first_centre(ys), top, bottom)
    counts = last - first
    edge = np.repeat(np.arange(len(starts)), counts)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    (x0, y0), (x1, y1) = starts[edge].T, ends[edge].T
    crossed = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(_first_centre(crossed), left, right)
    steps = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(steps, (row - top, column - left), 1)
    odd = np.cumsum(steps, axis=1, dtype=np.uint8) % 2  # wraps at 256, which keeps it odd or even
    return int(top), int(left), odd[:, :-1] == 1


def _first_centre(coordinates: np.ndarray) -> np.ndarray:
    """The first pixel whose centre is not before a coordinate."""
    # Coordinates may lie anywhere; as floats of that size they have no halves any more.
    return np.ceil(np.clip(coordinates, -1e9, 1e9) - 0.5).astype(np.int64)


def as_ring(points: np.ndarray) -> bytes:
    """Corners [n, 2] as `Outline.rings` keeps them.

    Raises:
      ValueError: fewer than three, or one that is no finite number.
    """
    if len(points) < 3:
        raise ValueError(f"an outline of {len(points)} points")
    if not np.isfinite(points).all():
        raise ValueError("an outline with a coordinate that is no finite number")
    return np.ascontiguousarray(points, np.float64).tobytes()
