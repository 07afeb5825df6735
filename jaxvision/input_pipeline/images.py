"""Image files: found in a folder and decoded to uint8 arrays."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from jaxvision.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
# The decoders by content, not by extension. Others stay off: EPS for one would run Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
# Pillow warns above this and refuses above twice this; its own limit is under 10,000 x 10,000.
Image.MAX_IMAGE_PIXELS = 2**29


def find_images(folder: Path) -> dict[str, Path]:
    """{stem: path} of the image files directly in `folder`, in order of stem.

    Hidden files are left out: macOS puts a '._name.jpg', which is no image, beside each file.

    Raises:
      UserError: two files have the same stem, so a mask cannot be matched to one of them.
    """
    found = {}
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
    for name in names:
        stem, extension = os.path.splitext(name)
        if extension.lower() not in EXTENSIONS:
            continue
        if stem in found:
            raise UserError(
                f"{folder} holds both {found[stem].name} and {name}: files are matched by name "
                "without extension; remove or rename one"
            )
        found[stem] = Path(folder, name)
    return dict(sorted(found.items()))


def decode_image(path: str | Path) -> np.ndarray:
    """The image as uint8 [H, W, 3] RGB, turned upright as its EXIF orientation says.

    Gray and palette images become RGB; alpha is dropped. 16-bit values keep their high byte
    (value // 256, what Pillow does for 16-bit colour); floats are taken as [0, 1] times 255.

    Raises:
      UserError: '<path>: <reason>' for a file that is missing, damaged or of another kind.
    """
    return _decode(path, _to_rgb)


def decode_mask(path: str | Path) -> np.ndarray:
    """The mask as uint8 [H, W] in {0, 1}: background and object.

    Accepted: one bit; any two values of which one is zero (or black, in colour); one value alone;
    and 0 and 255 blurred by JPEG or by resizing, which are parted at half of 255.

    Raises:
      UserError: '<path>: <reason>' as decode_image, and for a mask of more than two levels.
    """
    return _decode(path, _to_binary)


def decode_square(path: str | Path, size: int) -> np.ndarray:
    """The middle square of an image, `size` pixels a side: uint8 [size, size, 3] RGB.

    The shorter side is brought to `size`, so nothing is distorted. A JPEG at least twice as large
    is decoded at a half, a quarter or an eighth, which takes that much less time.

    Raises:
      UserError: '<path>: <reason>' as decode_image.
    """
    return _decode(path, functools.partial(_to_square, size=size), reduced=(size, size))


def _to_square(image: Image.Image, size: int) -> np.ndarray:
    image = Image.fromarray(_to_rgb(image))
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box))


def _decode(
    path: str | Path,
    convert: Callable[[Image.Image], np.ndarray],
    reduced: tuple[int, int] | None = None,
) -> np.ndarray:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _refuse_misread_tiff(image)
            if reduced:
                image.draft(None, reduced)
            image.load()
            with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to fail
                ImageOps.exif_transpose(image, in_place=True)
            return convert(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise UserError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG, TIFF or WebP image that Pillow can read; save it as 8-bit RGB"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "damaged: " + " ".join(f"{error or type(error).__name__}".split())


def _refuse_misread_tiff(image: Image.Image) -> None:
    """Pillow 13 reads some multi-band TIFFs wrongly, and without an error; better to have one."""
    if image.format != "TIFF":
        return
    samples = image.tag_v2.get(277, 1)
    planes = image.tag_v2.get(284, 1) == 2
    bits = max(image.tag_v2.get(258, (1,)))
    if samples > 1 and (len(image.getbands()) == 1 or (planes and bits > 8)):
        raise UserError(f"a TIFF of {samples} bands of {bits} bits; save it as 8-bit RGB")


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # also true for NaN
            raise UserError(
                f"floats from {values.min():g} to {values.max():g}, not in [0, 1]; save as 8 bit"
            )
        gray = (values * 255).round().astype(np.uint8)
    elif image.mode.startswith("I"):  # 'I;16' and its byte orders; 'I' where Pillow widened it
        values = np.asarray(image)
        if 0 < values.max() < 256:
            raise UserError(
                f"16-bit pixels of at most {values.max()}: black once cut to 8 bit; save as 8 bit"
            )
        gray = (values.clip(0, 65535) >> 8).astype(np.uint8)
    else:
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns about the direct way
        return np.array(image.convert("RGB"))
    return np.repeat(gray[:, :, None], 3, axis=2)  # [H, W] -> [H, W, 3]


def _to_binary(image: Image.Image) -> np.ndarray:
    lossy = image.format in ("JPEG", "MPO", "WEBP")
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("LA", "La"):
        image = image.convert("L")
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        levels = np.unique(values)
        if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
            raise _too_many_levels(levels)
        return (values != 0).astype(np.uint8)
    if image.mode != "L":
        flat = _colour_to_gray(image, lossy)
        if isinstance(flat, np.ndarray):
            return flat
        image = flat
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
