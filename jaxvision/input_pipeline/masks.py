"""Mask files decoded to background and object, or refused: the one way, for every system."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from jaxvision.errors import UserError
from jaxvision.input_pipeline.stored import Stored, load, reasons, turned

MAX_PIXELS = 2**30


class Mask(NamedTuple):
    """uint8 [H, W] in {0, 1}, and the EXIF orientation that was applied."""

    pixels: np.ndarray
    orientation: int


def decode_mask(path: str | Path, orientation: int = 1) -> np.ndarray:
    """The mask as uint8 [H, W] in {0, 1}: background and object.

    Accepted: one bit; any two values of which one is zero (or black, in colour); one value alone;
    0 and 255 blurred by JPEG or by resizing, which are parted at half of 255; and any of these in
    the alpha channel of a picture of one colour.

    Args:
      path: of a file.
      orientation: EXIF's of the picture, for a mask that was drawn on it before it was turned.

    Raises:
      UserError: '<path>: <reason>' as images.decode_image, and for a mask of more than two levels.
    """
    return turned(read_mask(path).pixels, orientation)


def read_mask(path: str | Path) -> Mask:
    """`decode_mask` by the file's own orientation alone, with that."""
    with reasons(path):
        stored = load(path, MAX_PIXELS)
        return Mask(_to_binary(stored), stored.orientation)


def _to_binary(stored: Stored) -> np.ndarray:
    lossy = stored.format in ("JPEG", "MPO", "WEBP")
    if stored.values is not None:
        return _deep_mask(stored.values, stored.white_is_zero)
    image = stored.image
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        alpha = image.convert("RGBA").getchannel("A")
        if len(set(alpha.getextrema())) > 1:
            return _with_alpha(image, alpha, lossy)
    return _by_colour(image, lossy)


def _deep_mask(values: np.ndarray, white_is_zero: bool) -> np.ndarray:
    if values.ndim == 3:
        raise UserError("a mask of three bands of more than 8 bits; save it as 8-bit gray")
    if white_is_zero and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    levels = np.unique(values)
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        raise _too_many_levels(levels)
    return (values != 0).astype(np.uint8)


def _with_alpha(image: Image.Image, alpha: Image.Image, lossy: bool) -> np.ndarray:
    """Of a picture whose alpha varies: the mask is there, or in the colours, or in both alike."""
    colours = image.convert("RGBA").convert("RGB").getextrema()
    by_alpha = _by_levels(alpha, lossy=False)
    if all(low == high for low, high in colours):
        return by_alpha
    try:
        by_colour = _by_colour(image, lossy)
    except UserError:
        by_colour = None
    if by_colour is None or (by_colour != by_alpha).any():
        raise UserError(
            "a mask whose colours and alpha channel vary, and not alike: which of them is the mask "
            "cannot be known; save it as 8-bit gray"
        )
    return by_colour


def _by_colour(image: Image.Image, lossy: bool) -> np.ndarray:
    if image.mode == "LA":
        image = image.convert("L")
    if image.mode != "L":
        flat = _colour_to_gray(image, lossy)
        if isinstance(flat, np.ndarray):
            return flat
        image = flat
    return _by_levels(image, lossy)


def _by_levels(image: Image.Image, lossy: bool) -> np.ndarray:
    """Of a gray image."""
    counts = np.array(image.histogram())
    levels = np.flatnonzero(counts)
    if len(levels) == 1 or (len(levels) == 2 and levels[0] == 0):
        return (np.asarray(image) != 0).astype(np.uint8)
    # Blur spreads over many values; a few sharp ones in a lossless file are classes. Measured on
    # building masks: JPEG at quality 50 puts .2 % of the pixels in the middle, a bilinear resize
    # 5 %; a map of classes puts a class there.
    blurred = lossy or len(levels) > 16
    middle = counts[64:192].sum() / counts.sum()
    if not blurred or levels[0] >= 64 or levels[-1] < 192 or middle > 0.1:
        raise _too_many_levels(levels)
    return (np.asarray(image) >= 128).astype(np.uint8)


def _colour_to_gray(image: Image.Image, lossy: bool) -> Image.Image | np.ndarray:
    """A gray image where the colours are gray; the mask itself where they are two."""
    indices = np.asarray(image) if image.mode == "P" else None
    image = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    red, green, blue = image.split()
    tint = ImageChops.lighter(ImageChops.difference(red, green), ImageChops.difference(green, blue))
    if not tint.getbbox():
        return green
    colours = image.getcolors(256)
    if colours and len(colours) <= 2:
        black = (0, 0, 0) in [colour for _, colour in colours]
        if black or len(colours) == 1:
            return np.asarray(image).any(axis=2).astype(np.uint8)
        if indices is not None and indices.min() == 0:
            return (indices != 0).astype(np.uint8)  # two tints: the first of the palette is ground
    tinted = sum(tint.histogram()[64:]) / (image.width * image.height)
    if not lossy or tinted > 0.01:
        listed = ["#" + bytes(colour).hex() for _, colour in colours or ()]
        raise _too_many_levels(listed or ["over 256 colours"])
    return image.convert("L")


def _too_many_levels(levels: Sequence) -> UserError:
    shown = ", ".join(str(level) for level in levels[:6]) + (", ..." if len(levels) > 6 else "")
    return UserError(f"a mask of {len(levels)} values ({shown}), not of two with 0 as background")
