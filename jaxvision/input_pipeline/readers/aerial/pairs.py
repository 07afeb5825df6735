"""Images with their masks, decoded once: which of them fit together, and how."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision import cache
from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, download
from jaxvision.input_pipeline.checks import Checked
from jaxvision.input_pipeline.class_masks import Coding, present
from jaxvision.input_pipeline.dataset import fingerprint
from jaxvision.input_pipeline.parallel import cpu_threads, threaded
from jaxvision.input_pipeline.readers.aerial.listing import Example
from jaxvision.input_pipeline.readers.aerial.outlines import Drawing, draw


class Pair(NamedTuple):
    """An image with its mask, both decoded once and found good.

    Attributes:
      example: the files.
      height, width: pixels.
      image_digest, mask_digest: hashes of the pixels.
      mask_turn: EXIF's orientation that brings the mask to its image; 1 where it fits as it is.
      present: of a mask of several classes, the numbers that it holds.
    """

    example: Example
    height: int
    width: int
    image_digest: str
    mask_digest: str
    mask_turn: int
    present: tuple[int, ...] = ()


class CheckedPairs(NamedTuple):
    """The usable pairs, one problem for each of the others, and notes."""

    pairs: list[Pair]
    problems: list[str]
    notes: list[str]


def check_pairs(
    examples: Sequence[Example],
    path: Path,
    value_range: Sequence[float],
    coding: Coding | None = None,
) -> CheckedPairs:
    """Decodes all files once.

    Args:
      examples: of the data set.
      path: of the data set.
      value_range: `data.range`.
      coding: of masks of several classes.

    Raises:
      UserError: `data.range` cannot be used.
    """
    files = [(example.image, "image") for example in examples]
    stored = [example.mask for example in examples if isinstance(example.mask, str)]
    masks = [(mask, coding or "mask") for mask in stored]
    checked = checks.check_files([*files, *masks], path, value_range)
    shown, masks = checked[: len(examples)], iter(checked[len(examples) :])
    examples = [_sized(example, image) for example, image in zip(examples, shown, strict=True)]
    drawings = [example.mask for example in examples if isinstance(example.mask, Drawing)]
    drawn = iter(_check_drawings(drawings, path))
    masks = [next(masks if isinstance(example.mask, str) else drawn) for example in examples]
    halves = shown, masks
    good, empty, turned = CheckedPairs([], [], []), [], []
    for example, image, mask in zip(examples, *halves, strict=True):
        try:
            turn = _mask_turn(example, image, mask)
        except UserError as error:
            good.problems.append(str(error))
        else:
            digests = image.digest, mask.digest
            held = tuple(mask.present) if coding else ()
            good.pairs.append(Pair(example, image.height, image.width, *digests, turn, held))
            empty += [example.mask_label] if mask.empty else []
            turned += [example.mask_label] if turn != 1 else []
        for file, error in ((example.image, image.error), (example.mask, mask.error)):
            if error and isinstance(file, str):
                download.forget(file)
    remarks = ("are empty, no object in them", empty), ("are turned as their images are", turned)
    for what, labels in remarks:
        if labels:
            shown = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
            good.notes.append(f"{len(labels)} of {len(good.pairs)} masks {what}: {shown}")
    good.notes.extend(checks.range_notes(halves[0], value_range))
    good.notes.extend(_drawing_notes(masks))
    return good


class CheckedDrawing(NamedTuple):
    """`Checked` of a mask that outlines draw, `Drawn`'s counts, and the numbers that it holds."""

    height: int
    width: int
    digest: str
    error: str
    orientation: int
    empty: bool
    disputed: int
    unseen: int
    present: tuple[int, ...]


def _sized(example: Example, image: Checked) -> Example:
    """A drawing that does not say its size has that of its picture, unless this was turned."""
    drawing = example.mask
    if isinstance(drawing, str) or drawing.height or image.orientation != 1:
        return example
    return example._replace(mask=drawing._replace(height=image.height, width=image.width))


def _check_drawings(drawings: Sequence[Drawing], root: Path) -> list[CheckedDrawing]:
    """Draws every mask once, in threads, and keeps the outcome for the next start."""
    store = cache.cache_dir() / "checked" / f"{fingerprint([root.resolve(), 'drawings'])}.json"
    known = {key: CheckedDrawing(*fields) for key, fields in (cache.read_json(store) or {}).items()}
    keys = [f"{cache.code_version()} {_digest(drawing)}" for drawing in drawings]
    missing = [i for i, key in enumerate(keys) if key not in known]
    drawn = threaded(lambda i: _check_drawing(drawings[i]), missing, "drawing masks", cpu_threads())
    for i, checked in zip(missing, drawn, strict=True):
        known[keys[i]] = checked
    if missing:
        cache.keep_json(store, {key: known[key] for key in keys})
    return [known[key] for key in keys]


def _digest(drawing: Drawing) -> str:
    """A hash of all that a mask is drawn from."""
    digest = hashlib.blake2b(f"{drawing.height} {drawing.width}".encode(), digest_size=16)
    for outline in drawing.outlines:
        sizes = [len(ring) for ring in outline.rings]
        digest.update(f"{outline.label} {sizes} {len(outline.runs)}".encode())
        for part in (*outline.rings, outline.runs):
            digest.update(part)
    return digest.hexdigest()


def _check_drawing(drawing: Drawing) -> CheckedDrawing:
    drawn = draw(drawing)
    digest = hashlib.blake2b(str(drawn.mask.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(drawn.mask).data)
    empty = not drawn.mask.any()
    told = drawn.disputed, drawn.unseen, present(drawn.mask)
    return CheckedDrawing(*drawn.mask.shape, digest.hexdigest(), "", 1, empty, *told)


def _drawing_notes(masks: Sequence[Any]) -> list[str]:
    drawn = [mask for mask in masks if isinstance(mask, CheckedDrawing)]
    notes = []
    if unseen := sum(mask.unseen for mask in drawn):
        notes.append(f"{unseen} outlines hold no pixel's centre: too thin, or beside their picture")
    if disputed := sum(mask.disputed for mask in drawn):
        notes.append(f"{disputed} pixels lie in objects of several classes: they do not count")
    return notes


def _mask_turn(example: Example, image: Checked, mask: Checked | CheckedDrawing) -> int:
    """The EXIF orientation by which the mask is still to be turned to lie on its image.

    A mask without orientation, of an image that has one, was drawn on the image as it is shown or
    as it is stored: the size tells which, if anything does.

    Raises:
      UserError: one of them cannot be used, or they do not fit together.
    """
    if image.error:
        raise UserError(f"{example.image_label}: {image.error}")
    if mask.error:
        raise UserError(f"{example.mask_label}: {mask.error}")
    shown, size = (image.height, image.width), (mask.height, mask.width)
    if size == (0, 0):
        raise UserError(
            f"{example.image_label}: it has EXIF orientation {image.orientation}, and GeoJSON does "
            "not tell whether it was drawn before or after turning: save the picture upright"
        )
    if image.orientation == mask.orientation and shown == size:
        return 1
    if image.orientation != mask.orientation:
        quarter = image.orientation >= 5
        stored = shown[::-1] if quarter else shown
        if mask.orientation == 1 and quarter and shown != stored and size in (shown, stored):
            return 1 if size == shown else image.orientation
        if size in (shown, stored):
            raise UserError(
                f"{example.image_label}: it has EXIF orientation {image.orientation} and its mask "
                f"{mask.orientation}, and their sizes do not tell whether the mask was drawn "
                "before or after turning: save both upright"
            )
    raise UserError(
        f"{example.image_label}: image {image.width} x {image.height} pixels, mask {mask.width} x "
        f"{mask.height}"
    )
