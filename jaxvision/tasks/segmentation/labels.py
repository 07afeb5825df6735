"""What a pixel may be: building or not, or one of several classes.

All in which the two differ once a model has answered stands here; tiles, files and outlines are the
same for both.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxvision.tasks.segmentation.overlay import classes_over, mask_over, palette_of

DESCRIBED = 4  # classes in a line of the console


class Labels(NamedTuple):
    """What is made of a model's probabilities.

    Attributes:
      classes: their names; (): building or not.
      palette: uint8 [K, 3], a colour a class; None: a mask is black and white.
      output: of the model, its name and meaning.
      assign: (output [..., H, W] or [..., H, W, K], fitted) -> (mask [H, W]: bool, or uint8 numbers
        of classes; probability float32 [H, W]: of building, or of the class that the mask says).
      tell: (pixels of each value of the mask [K], fitted) -> what the record says of them.
      describe: (record) -> a few words.
      over: (picture, mask) -> the picture with the mask over it.
      columns: {name: type} of a table, of what `tell` says.
      row: (record) -> {column: value}, of the same.
    """

    classes: tuple[str, ...]
    palette: np.ndarray | None
    output: tuple[str, str]
    assign: Callable[..., tuple[np.ndarray, np.ndarray]]
    tell: Callable[..., dict[str, Any]]
    describe: Callable[[dict[str, Any]], str]
    over: Callable[[np.ndarray, np.ndarray], np.ndarray]
    columns: dict[str, Any]
    row: Callable[[dict[str, Any]], dict[str, Any]]


def count(labels: Labels, mask: np.ndarray) -> np.ndarray:
    """Pixels of each value that a mask may have: int [K]."""
    if not labels.classes:
        found = np.count_nonzero(mask)
        return np.array([mask.size - found, found])
    return np.bincount(mask.ravel(), minlength=len(labels.classes))


def stored(labels: Labels, mask: np.ndarray) -> np.ndarray:
    """A mask as its file holds it, uint8 [H, W]: 0 and 255, or numbers of classes."""
    return mask if labels.classes else np.where(mask, np.uint8(255), np.uint8(0))


def as_image(labels: Labels, mask: np.ndarray) -> Image.Image:
    """A mask as a picture: gray, or of a palette."""
    image = Image.fromarray(stored(labels, mask))
    if labels.classes:
        image.putpalette(labels.palette.tobytes())
    return image


def layer(labels: Labels, mask: np.ndarray) -> np.ndarray:
    """A mask as `overlay.side_by_side` takes it: uint8 [H, W, 1 or 4]."""
    if not labels.classes:
        return stored(labels, mask)[:, :, None]
    opaque = np.full((len(labels.palette), 1), 255, np.uint8)
    table = np.concatenate([labels.palette, opaque], axis=1)
    table[0] = 0
    return table[mask]


def _assign_building(probability, fitted):
    return probability >= fitted.get("threshold", 0.5), probability


def _tell_building(pixels, fitted):
    share = int(pixels[1]) / int(pixels.sum())
    return {"building_share": share, "threshold": fitted.get("threshold", 0.5)}


def _building_row(record):
    return {name: record[name] for name in ("building_share", "threshold")}


BUILDING = Labels(
    classes=(),
    palette=None,
    output=("probability", "of building, of each pixel; it is one from fitted.threshold on"),
    assign=_assign_building,
    tell=_tell_building,
    describe=lambda record: f"building {100 * record['building_share']:.1f} % of the picture",
    over=mask_over,
    columns={"building_share": float, "threshold": float},
    row=_building_row,
)


def of_classes(classes: Sequence[str], colours: Sequence[str] = ()) -> Labels:
    """Those of several classes.

    Args:
      classes: names.
      colours: of their masks, where these have colours.
    """
    palette = palette_of(len(classes), colours)
    return Labels(
        classes=tuple(classes),
        palette=palette,
        output=("probabilities", "of each class, of each pixel; they add up to 1"),
        assign=_assign_class,
        tell=functools.partial(_tell_shares, classes),
        describe=functools.partial(_describe_shares, classes[0]),
        over=lambda picture, mask: classes_over(picture, mask, palette),
        columns={f"share_{name}": float for name in classes},
        row=lambda record: {f"share_{name}": share for name, share in record["shares"].items()},
    )


def _assign_class(probabilities, fitted):
    return probabilities.argmax(-1).astype(np.uint8), probabilities.max(-1)


def _tell_shares(classes, pixels, fitted):
    total = int(pixels.sum())
    return {"shares": {name: int(n) / total for name, n in zip(classes, pixels, strict=True)}}


def _describe_shares(ground, record):
    """'building 12.3 %, road 4.0 % of the picture', the largest first, without the first class."""
    shares = {name: share for name, share in record["shares"].items() if name != ground}
    largest = sorted(shares.items(), key=lambda item: -item[1])[:DESCRIBED]
    told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in largest)
    return f"{told} of the picture"
