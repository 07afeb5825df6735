"""COCO annotations (cocodataset.org, "data format"): the outlines of every picture of a json file.

`segmentation` is a list of polygons, whose union is the object, or runs down the columns (RLE) of
numbers or in pycocotools' text. A crowd (`iscrowd`) counts neither as object nor as background.
"""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers.aerial.labels import label_classes
from jaxvision.input_pipeline.readers.aerial.outlines import (
    IGNORE,
    Drawing,
    Outline,
    as_ring,
    fill,
)


class Annotated(NamedTuple):
    """A picture of the file.

    Attributes:
      file_name: as the file has it.
      drawing: its outlines; None where they cannot be had.
      problem: why not; '' where they can.
      nested: polygons inside another one of the same object.
    """

    file_name: str
    drawing: Drawing | None
    problem: str
    nested: int = 0


def is_coco(content: Any) -> bool:
    """Whether a json file's content is meant as COCO annotations."""
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def read(content: Any, path: Path, classes: Sequence[str]) -> tuple[list[Annotated], list[str]]:
    """The pictures of a file, and notes.

    Args:
      content: of the json file.
      path: of it, for messages.
      classes: `data.classes`.

    Raises:
      UserError: it is no COCO file, its parts contradict each other, or which categories are meant
        is not known.
    """
    try:
        pictures = {picture["id"]: picture for picture in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        annotations = collections.defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        used = collections.Counter(a["category_id"] for own in annotations.values() for a in own)
        files = collections.Counter(str(picture["file_name"]) for picture in pictures.values())
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no COCO annotations ({type(error).__name__}: {error}); needed are images "
            "(id, file_name), categories (id, name) and annotations (image_id, category_id, "
            "segmentation)"
        ) from error
    _refuse_contradictions(path, content["images"], pictures, files, names, used)
    named = collections.Counter({names[i]: count for i, count in used.items()})
    labels, notes = label_classes(classes, named, list(names.values()), str(path))
    numbers = {i: labels.get(name, 0) for i, name in names.items()}
    found = [_annotated(p, annotations.pop(i, []), numbers) for i, p in pictures.items()]
    if annotations:
        count = sum(map(len, annotations.values()))
        notes.append(f"{count} annotations in {path.name} are of pictures that it does not list")
    return found, notes + _remarks(found, path)


def _refuse_contradictions(path, listed, pictures, files, names, used) -> None:
    if len(pictures) < len(listed):
        raise UserError(f"{path}: {len(listed) - len(pictures)} pictures have the id of another")
    name, times = files.most_common(1)[0] if files else ("", 0)
    if times > 1:
        raise UserError(f"{path}: {times} pictures have the file_name {name}; leave one")
    unknown = sorted(str(i) for i in used if i not in names)
    if unknown:
        raise UserError(f"{path}: category_id {', '.join(unknown[:5])} is none of its categories")


def _annotated(picture: dict, annotations: list[dict], numbers: dict[Any, int]) -> Annotated:
    """The outlines of one picture; a problem where one of them cannot be had: a mask that lacks an
    object would teach that there is none."""
    name = str(picture["file_name"])
    size = picture.get("height") or 0, picture.get("width") or 0
    if not all(isinstance(side, int) and 0 <= side < 2**20 for side in size):
        return Annotated(name, None, f"its height and width are {size[0]!r} and {size[1]!r}")
    outlines, nested = [], 0
    for annotation in annotations:
        label = IGNORE if annotation.get("iscrowd") else numbers[annotation["category_id"]]
        if not numbers[annotation["category_id"]]:
            continue
        try:
            own = _outlines(annotation.get("segmentation"), label, size)
        except (ValueError, TypeError, KeyError) as error:
            return Annotated(name, None, f"annotation {annotation.get('id')}: {error}")
        outlines += own
        nested += _count_nested(own)
    return Annotated(name, Drawing(*size, tuple(outlines)), "", nested)


def _outlines(segmentation: Any, label: int, size: tuple[int, int]) -> list[Outline]:
    """Of one object.

    Raises:
      ValueError, TypeError, KeyError: what is wrong with it.
    """
    if not segmentation:
        raise ValueError("no segmentation (a box alone says no outline)")
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        if size != (0, 0) and size != (height, width):
            raise ValueError(
                f"runs for {width} x {height} pixels, where the picture has {size[1]} x {size[0]}"
            )
        counts = segmentation["counts"]
        runs = _decoded(counts) if isinstance(counts, (str, bytes)) else counts
        runs = np.array(runs, np.int64)
        if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"runs that are not of {width} x {height} pixels")
        return [Outline(label, (), runs.tobytes())]
    outlines = []
    for polygon in segmentation:
        flat = np.asarray(polygon, np.float64)
        if flat.ndim != 1 or len(flat) % 2:
            raise ValueError("a polygon that is no list x1, y1, x2, y2, ...")
        outlines.append(Outline(label, (as_ring(flat.reshape(-1, 2)),)))
    return outlines


def _decoded(text: str | bytes) -> list[int]:
    """Runs of pycocotools' text: five bits a character, lowest first; from the fourth number on
    each is the difference to the one before the last."""
    runs, value, shift = [], 0, 0
    for code in text.encode() if isinstance(text, str) else text:
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift  # negative
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs


def _remarks(found: Sequence[Annotated], path: Path) -> list[str]:
    """What is unusual in outlines that can be used.

    Raises:
      UserError: the coordinates are not pixels.
    """
    drawings = [f.drawing for f in found if f.drawing]
    outlines = [outline for drawing in drawings for outline in drawing.outlines]
    rings = [np.frombuffer(ring) for outline in outlines for ring in outline.rings]
    if rings and max(ring.max() for ring in rings) <= 1.0:
        raise UserError(
            f"{path}: all coordinates lie between 0 and 1: they must be pixels, so multiply them "
            "by the width and height of their picture"
        )
    crowds = sum(outline.label == IGNORE for outline in outlines)
    notes = [f"{crowds} crowds in {path.name}: their pixels do not count"] if crowds else []
    if nested := sum(f.nested for f in found):
        notes.append(
            f"{nested} polygons in {path.name} lie inside another one of their object: they are "
            "filled, as COCO has it; a hole needs RLE"
        )
    return notes


def _count_nested(polygons: Sequence[Outline]) -> int:
    """Polygons of one object that add nothing to another of it: most likely meant as holes."""
    return sum(
        any(_adds_nothing(inner.rings, outer.rings) for outer in polygons if outer is not inner)
        for inner in polygons
        if inner.rings and len(polygons) > 1
    )


def _adds_nothing(inner: tuple[bytes, ...], outer: tuple[bytes, ...]) -> bool:
    """Whether one polygon's pixels, fewer, are all another's."""
    (low, high), (outer_low, outer_high) = (
        (points.min(0), points.max(0))
        for points in (np.frombuffer(rings[0]).reshape(-1, 2) for rings in (inner, outer))
    )
    if (low < outer_low).any() or (high > outer_high).any() or inner == outer:
        return False
    width, height = np.clip(np.ceil(outer_high), 1, 2**15).astype(int)
    both, own = np.zeros((2, height, width), bool)
    for mask, rings in ((both, outer), (own, inner)):
        top, left, inside = fill(rings, height, width)
        mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return bool(own.any() and both[own].all())
