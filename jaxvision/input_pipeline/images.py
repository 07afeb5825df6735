"""Picture files and bytes decoded to uint8 RGB: the one way, wherever a picture comes from.

The same pixels give the same result in whatever format they are stored:
  - values of more than 8 bits are scaled by the range that the file declares, or `data.range`
    states (`pixels.py`);
  - bands are taken by the colours that the file gives them (`tiff.py`);
  - the picture is turned upright as its EXIF orientation says;
  - gray and palettes become RGB, and alpha is dropped.
What cannot be understood so is refused in one line, as is a file of several frames or pages.

Pillow decodes, by libjpeg-turbo what is a JPEG: benchmarks/README.md has it beside other decoders.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxvision.input_pipeline import pixels
from jaxvision.input_pipeline.cells import Cell
from jaxvision.input_pipeline.masks import decode_mask
from jaxvision.input_pipeline.stored import Stored, is_deep, load, reasons

__all__ = [
    "decode_bytes",
    "decode_image",
    "decode_mask",
    "decode_square",
    "is_deep",
    "read_picture",
    "reasons",
]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif")
MAX_PIXELS = 2**30  # of a file of the user's own


class Picture(NamedTuple):
    """uint8 [H, W, 3] RGB; the EXIF orientation that was applied; whether it had over 8 bits."""

    pixels: np.ndarray
    orientation: int
    deep: bool


def decode_image(
    path: str | Path | Cell,
    value_range: Sequence[float] = (),
    max_pixels: int = MAX_PIXELS,
    least_side: int = 0,
) -> np.ndarray:
    """The image as uint8 [H, W, 3] RGB, which may be read-only, as this module's head says.

    Args:
      path: of a file, or a cell of one.
      value_range: `data.range`: (low, high) of values of more than 8 bits; (): as declared.
      max_pixels: larger files are refused before they are decoded.
      least_side: pixels. A JPEG whose shorter side has at least twice as many is decoded at a half,
        a quarter or an eighth that still has them, which takes that much less time; 0: as it is.

    Raises:
      UserError: '<path>: <reason>' for a file that is missing, damaged or cannot be understood.
    """
    return read_picture(path, value_range, max_pixels, least_side).pixels


def decode_bytes(
    data: bytes, max_pixels: int, value_range: Sequence[float] = (), least_side: int = 0
) -> np.ndarray:
    """A file's content as `decode_image` gives it: uint8 [H, W, 3] RGB.

    Raises:
      UserError: '<reason>', also for a picture of more than `max_pixels`, which its header tells.
    """
    with reasons(""):
        return to_rgb(load(data, max_pixels, least_side), value_range)


def read_picture(
    path: str | Path | Cell,
    value_range: Sequence[float] = (),
    max_pixels: int = MAX_PIXELS,
    least_side: int = 0,
) -> Picture:
    """`decode_image`, with what else the file tells."""
    with reasons(path):
        source = path.content() if isinstance(path, Cell) else path
        stored = load(source, max_pixels, least_side)
        deep = stored.values is not None or stored.low_bytes is not None
        return Picture(to_rgb(stored, value_range), stored.orientation, deep)


def decode_square(path: str | Path, size: int, value_range: Sequence[float] = ()) -> np.ndarray:
    """The middle square of an image, `size` pixels a side: uint8 [size, size, 3] RGB.

    The shorter side is brought to `size`, so nothing is distorted. A JPEG at least twice as large
    is decoded at a half, a quarter or an eighth: see `decode_image`.

    Raises:
      UserError: '<path>: <reason>' as decode_image.
    """
    with reasons(path):
        return middle_square(to_rgb(load(path, MAX_PIXELS, size), value_range), size)


def middle_square(picture: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> its middle square, `size` pixels a side: uint8 [size, size, 3]."""
    height, width = picture.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box)
    return np.asarray(square)


def to_rgb(stored: Stored, value_range: Sequence[float]) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded file.

    Raises:
      UserError: its range is not known.
    """
    if stored.values is not None:
        values, declared = stored.values, stored.declared
        if values.dtype == np.uint16 and stored.bits < 16:
            declared = pixels.significant_range(values, stored.bits)
        scaled = pixels.to_bytes(values, declared, value_range)
        scaled = 255 - scaled if stored.white_is_zero else scaled
        # [H, W] -> [H, W, 3]
        return scaled if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2)
    image = stored.image
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    # Of what Pillow gives as bytes, no copy: it costs as much as a third of decoding a JPEG.
    high = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if stored.low_bytes is None:
        return high
    if not value_range and stored.declared is None and stored.bits >= 16:
        pixels.refuse_dark(256 * int(high.max()) + 255 if high.any() else 0)
        return high
    values = (high.astype(np.uint16) << 8) | stored.low_bytes()
    declared = stored.declared
    if stored.bits < 16:
        declared = pixels.significant_range(values, stored.bits)
    return pixels.to_bytes(values, declared, value_range)
