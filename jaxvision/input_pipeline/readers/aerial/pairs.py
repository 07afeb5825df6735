"""Images with their masks, decoded once: which of them fit together, and how."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxvision.errors import UserError
from jaxvision.input_pipeline import checks, download
from jaxvision.input_pipeline.checks import Checked
from jaxvision.input_pipeline.readers.aerial.files import Example


class Pair(NamedTuple):
    """An image with its mask, both decoded once and found good.

    Attributes:
      example: the files.
      height, width: pixels.
      image_digest, mask_digest: hashes of the pixels.
      mask_turn: EXIF's orientation that brings the mask to its image; 1 where it fits as it is.
    """

    example: Example
    height: int
    width: int
    image_digest: str
    mask_digest: str
    mask_turn: int


class CheckedPairs(NamedTuple):
    """The usable pairs, one problem for each of the others, and notes."""

    pairs: list[Pair]
    problems: list[str]
    notes: list[str]


def check_pairs(
    examples: Sequence[Example], path: Path, value_range: Sequence[float]
) -> CheckedPairs:
    """Decodes all files once.

    Args:
      examples: of the data set.
      path: of the data set.
      value_range: `data.range`.

    Raises:
      UserError: `data.range` cannot be used.
    """
    files = [(example.image, "image") for example in examples]
    files += [(example.mask, "mask") for example in examples]
    checked = checks.check_files(files, path, value_range)
    halves = checked[: len(examples)], checked[len(examples) :]
    good, empty, turned = CheckedPairs([], [], []), [], []
    for example, image, mask in zip(examples, *halves, strict=True):
        try:
            turn = _mask_turn(example, image, mask)
        except UserError as error:
            good.problems.append(str(error))
        else:
            digests = image.digest, mask.digest
            good.pairs.append(Pair(example, image.height, image.width, *digests, turn))
            empty += [example.mask_label] if mask.empty else []
            turned += [example.mask_label] if turn != 1 else []
        for file, error in ((example.image, image.error), (example.mask, mask.error)):
            if error:
                download.forget(file)
    remarks = ("are empty, no object in them", empty), ("are turned as their images are", turned)
    for what, labels in remarks:
        if labels:
            shown = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
            good.notes.append(f"{len(labels)} of {len(good.pairs)} masks {what}: {shown}")
    good.notes.extend(checks.range_notes(halves[0], value_range))
    return good


def _mask_turn(example: Example, image: Checked, mask: Checked) -> int:
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
