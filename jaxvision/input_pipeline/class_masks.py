"""Mask files of several classes decoded to a class a pixel, or refused.

The pixels of a file are the numbers of classes, 0 and up (gray of any depth, or the entries of a
palette), or colours, one a class. IGNORE, or one colour more, is what neither loss nor metrics
count.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.masks import MAX_PIXELS, Mask
from jaxvision.input_pipeline.stored import Stored, load, reasons, turned

IGNORE = 255
BLURRED = ("JPEG", "MPO", "WEBP")


class Coding(NamedTuple):
    """How masks tell classes.

    Attributes:
      classes: names.
      colours: 0xRRGGBB of each class, then possibly that of what does not count; (): masks hold
        the numbers of classes.
    """

    classes: tuple[str, ...]
    colours: tuple[int, ...] = ()


def coding_of(options: Any) -> Coding | None:
    """The coding of `config.data`; None where masks are of one kind of object."""
    if len(options.classes) < 2:
        return None
    return Coding(tuple(options.classes), tuple(int(c[1:], 16) for c in options.class_colors))


def colours_of(coding: Coding) -> list[str]:
    """'#rrggbb' of each class, where masks have colours; else []."""
    return [f"#{colour:06x}" for colour in coding.colours[: len(coding.classes)]]


def decode_mask(path: str | Path, coding: Coding, orientation: int = 1) -> np.ndarray:
    """The mask as uint8 [H, W]: numbers of classes, and IGNORE.

    Args:
      path: of a file.
      coding: what its pixels mean.
      orientation: EXIF's of the picture, for a mask that was drawn on it before it was turned.

    Raises:
      UserError: '<path>: <reason>' as images.decode_image, and for a pixel that is no class.
    """
    return turned(read_mask(path, coding).pixels, orientation)


def read_mask(path: str | Path, coding: Coding) -> Mask:
    """`decode_mask` by the file's own orientation alone, with that."""
    with reasons(path):
        stored = load(path, MAX_PIXELS)
        if stored.format in BLURRED:
            raise UserError(
                f"a mask of classes as {stored.format}, which mixes them along their edges: save "
                "it as PNG or TIFF"
            )
        numbers = _by_colour(stored, coding) if coding.colours else _numbers(stored, coding)
        return Mask(numbers, stored.orientation)


def _numbers(stored: Stored, coding: Coding) -> np.ndarray:
    count, values = len(coding.classes), _values(stored)
    wrong = values[~np.isin(values, [*range(count), IGNORE])]
    if wrong.size:
        raise UserError(
            f"a mask with value {_most_common(wrong):g} ({wrong.size} such pixels), which is no "
            f"class: data.classes names {count}, so values are 0 to {count - 1}, and {IGNORE} "
            "where nothing is to count; save it so, or name all classes"
        )
    return values.astype(np.uint8)


def _values(stored: Stored) -> np.ndarray:
    """What the pixels hold, [H, W]; of a palette its entries' numbers."""
    if stored.values is not None:
        if stored.values.ndim == 3:
            raise UserError("a mask of three bands of more than 8 bits; save it as 8-bit gray")
        if stored.white_is_zero:
            raise UserError("a mask whose 0 is white; save it as 8-bit gray, where 0 is black")
        return stored.values
    if stored.image.mode in ("1", "L", "P"):
        return np.asarray(stored.image).astype(np.uint8)
    colours = _opaque(stored.image)  # [H, W, 3]
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    listed = sorted({f"#{code:06x}" for code in np.unique(_codes(colours))[:6].tolist()})
    raise UserError(
        f"a mask in colours ({', '.join(listed)}, ...), which say no class: name them by "
        "data.class_colors, one a class, or save the numbers of classes as 8-bit gray"
    )


def _by_colour(stored: Stored, coding: Coding) -> np.ndarray:
    if stored.values is not None:
        raise UserError("a mask of more than 8 bits, where data.class_colors asks for colours")
    codes, count = _codes(_opaque(stored.image)), len(coding.classes)
    numbers, known = np.full(codes.shape, IGNORE, np.uint8), np.zeros(codes.shape, bool)
    for number, colour in enumerate(coding.colours):
        place = codes == colour
        known |= place
        if number < count:
            numbers[place] = number
    if not known.all():
        wrong = codes[~known]
        raise UserError(
            f"a mask with colour #{_most_common(wrong):06x} ({wrong.size} such pixels), which is "
            "none of data.class_colors: add it there, or paint it in one of them"
        )
    return numbers


def _opaque(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of a picture without transparent parts."""
    if image.mode == "P" or image.mode in ("LA", "La", "PA", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and len(set(image.getchannel("A").getextrema())) > 1:
        raise UserError("a mask of classes whose transparency varies; save it without")
    return np.asarray(image.convert("RGB"))


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> 0xRRGGBB, int32 [H, W]."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _most_common(values: np.ndarray) -> Any:
    levels, counts = np.unique(values, return_counts=True)
    return levels[counts.argmax()]


def present(numbers: np.ndarray) -> tuple[int, ...]:
    """The numbers that a mask, uint8 [H, W], holds."""
    return tuple(np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)).tolist())


def occurrence_notes(splits: dict[str, Sequence[Sequence[int]]], coding: Coding) -> list[str]:
    """What to tell of classes that a split lacks.

    Args:
      splits: {split: what `present` gives of each mask}.
      coding: of the masks.

    Raises:
      UserError: the masks hold 0 and IGNORE alone: they are meant as black and white.
    """
    found = {name: {n for numbers in masks for n in numbers} for name, masks in splits.items()}
    everywhere = set().union(*found.values())
    if IGNORE in everywhere <= {0, IGNORE}:
        raise UserError(
            f"all masks together hold 0 and {IGNORE} alone, and {IGNORE} is what does not count: "
            f"data.classes={coding.classes} needs the numbers 0 to {len(coding.classes) - 1}; "
            "for masks of 0 and 255 leave data.classes out"
        )
    notes = []
    for split, numbers in found.items():
        lacking = [name for n, name in enumerate(coding.classes) if n not in numbers]
        if lacking:
            notes.append(f"no pixel of {split} is {', '.join(lacking)}")
    return notes
