"""A picture file, or its content, decoded: upright, but its values as they are stored."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxvision.errors import FileError, UserError
from jaxvision.input_pipeline import tiff

# The decoders by content, not by extension. Others stay off: EPS for one would run Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
KINDS = "PNG, JPEG, TIFF, WebP, BMP or GIF"
# Pillow's own limit is one for the whole process; here each call has its own.
Image.MAX_IMAGE_PIXELS = None
# By what ISO base media files of pictures begin with, after their length and 'ftyp'.
_PHONE_KINDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}
# The bytes that Pillow drops of 16-bit colour, as the raw mode that keeps them in place of these.
_LOW_BYTES = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}


class Stored(NamedTuple):
    """A decoded file, upright; nothing scaled yet.

    Attributes:
      image: where it has at most 8 bits a band, or 16-bit colour (its high bytes).
      values: [H, W] or [H, W, 3] of more than 8 bits; None where `image` says all.
      declared: (low, high) of `values`, None where the file does not tell.
      white_is_zero: the largest of `values` is black.
      orientation: EXIF's, which was applied.
      low_bytes: () -> uint8 [H, W, 3], of 16-bit colour; None otherwise.
      bits: significant bits that a PNG's sBIT declares; 16 where it does not.
      format: Pillow's name of it.
    """

    image: Image.Image | None
    values: np.ndarray | None
    declared: tuple[float, float] | None
    white_is_zero: bool
    orientation: int
    low_bytes: Callable[[], np.ndarray] | None
    bits: int
    format: str


@contextlib.contextmanager
def reasons(path: str | Path) -> Iterator[None]:
    """Turns what decoders raise into UserError('<path>: <reason>'), or '<reason>' without path."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise FileError(f"{path}: {_reason(error)}" if path else _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"not a {KINDS} image that Pillow can read; save it as 8-bit RGB"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "damaged: " + " ".join(f"{error or type(error).__name__}".split())


def load(source: str | Path | bytes, max_pixels: int, least_side: int = 0) -> Stored:
    """Decodes a file or its content.

    Args:
      source: a path, or the content.
      max_pixels: checked from the header, before anything is decoded.
      least_side: of a JPEG that is decoded at a fraction of its size, pixels; 0: it is not.

    Raises:
      FileError: another kind of file, too large, or of several frames or pages.
      Exception: of many kinds, for a damaged file.
    """
    head = source[:16] if isinstance(source, bytes) else _first_bytes(source)
    if head[4:8] == b"ftyp" and head[8:11] in _PHONE_KINDS:
        kind = _PHONE_KINDS[head[8:11]]
        raise FileError(f"{kind}, which is not read: save or export it as JPEG or PNG")
    page = tiff.open_page(source) if head[:4] in tiff.MAGIC else None
    if page:
        _check_size(page.width, page.height, max_pixels)
        if values := _with_gdal(source, page):
            return values
    with _opened(source) as image:
        _check_size(*image.size, max_pixels)
        if page is None:
            _refuse_frames(image)
        elif page.index:
            image.seek(page.index)
        raw_mode = _raw_mode(image)  # before EXIF is read: of a PNG, that decodes it
        orientation = page.orientation if page else _orientation(image)
        if least_side:
            image.draft(None, (least_side, least_side))
        bits = _significant_bits(source) if image.format == "PNG" else 16
        _load_upright(image)
        low = None
        if raw_mode in _LOW_BYTES or raw_mode == "LA;16B":
            low = _low_bytes(source, raw_mode, page)
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
        values = np.array(image) if deep else None
        if page and deep and page.kind == "u" and page.bits == 32:
            values = values.view(np.uint32)  # Pillow has signed ones only
        if page and deep and page.kind == "i" and page.bits == 16:
            values = values.astype(np.int16)
        declared = page.declared if page else None
        inverted = bool(page and page.white_is_zero and deep)
        kept = None if deep else image
        return Stored(kept, values, declared, inverted, orientation, low, bits, image.format)


def _first_bytes(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[Image.Image]:
    # Given a path, Pillow 13 maps some TIFFs into memory, and those turned by a quarter wrongly.
    with contextlib.ExitStack() as stack:
        is_bytes = isinstance(source, bytes)
        file = io.BytesIO(source) if is_bytes else stack.enter_context(open(source, "rb"))
        yield stack.enter_context(Image.open(file, formats=_FORMATS))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise FileError(f"{width} x {height} pixels, over the limit of {max_pixels:,}")


def _refuse_frames(image: Image.Image) -> None:
    # A JPEG of several pictures (MPO) holds previews and maps of depth behind the photograph.
    if image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False):
        raise FileError(
            f"a {image.format} of {image.n_frames} frames: save the one to use as a file of its own"
        )


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to fail
        value = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        return value if 1 <= value <= 8 else 1
    return 1


def _load_upright(image: Image.Image) -> None:
    image.load()
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _with_gdal(source: str | Path | bytes, page: tiff.Page) -> Stored | None:
    """A TIFF that Pillow cannot read, or reads wrongly; None for those that it can."""
    bands = tiff.colour_bands(page.names, page.rgb) if page.rgb or any(page.names) else None
    if bands in (None, [0], [0, 1, 2]) and tiff.pillow_reads(page):
        with contextlib.suppress(UnidentifiedImageError), _opened(source):
            return None  # as Pillow reads it
    source = source if isinstance(source, bytes) else Path(source)
    why = f"a TIFF of {page.samples} bands of {page.bits} bits"
    if page.photometric == 3 or page.index:
        raise FileError(f"{why}; save it as 8-bit RGB")
    values = turned(tiff.read_with_gdal(source, page, why), page.orientation)
    image, inverted = None, page.white_is_zero
    if values.dtype == np.uint8 and page.declared is None and page.bits == 8:
        image = Image.fromarray(255 - values if inverted else values)
        values, inverted = None, False
    return Stored(image, values, page.declared, inverted, page.orientation, None, 16, "TIFF")


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] as stored -> upright, by an EXIF orientation from 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, in Pillow's words."""
    args = image.tile[0].args if image.tile else ""
    mode = args if isinstance(args, str) else (args[0] if args else "")
    return mode if isinstance(mode, str) else ""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file, not decoded yet, has more than 8 bits a band."""
    mode = _raw_mode(image)
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or ";16" in mode


def _significant_bits(source: str | Path | bytes) -> int:
    """The most that a PNG's sBIT says of a colour; 16 without."""
    with contextlib.ExitStack() as stack:
        is_bytes = isinstance(source, bytes)
        file = io.BytesIO(source) if is_bytes else stack.enter_context(open(source, "rb"))
        colours, position = 3, 8
        while True:
            file.seek(position)
            head = file.read(8)
            size, kind = int.from_bytes(head[:4]), head[4:]
            if kind == b"IHDR":
                colours = 3 if file.read(10)[9] & 2 else 1
            elif kind == b"sBIT":
                return max(file.read(min(size, colours)), default=16)
            elif len(head) < 8 or kind in (b"IDAT", b"IEND"):
                return 16
            position += 12 + size  # length, kind, content, checksum


def _low_bytes(source: Any, raw_mode: str, page: tiff.Page | None) -> Callable[[], np.ndarray]:
    """Decodes 16-bit colour once more, for the bytes that Pillow leaves out: [H, W, 3]."""

    def read() -> np.ndarray:
        with _opened(source) as image:
            if page and page.index:
                image.seek(page.index)
            if raw_mode == "LA;16B":  # as four bytes: the second is the low one of gray
                image._mode, mode = "RGBA", "RGBA"
            else:
                mode = _LOW_BYTES[raw_mode]
            image.tile = [_with_mode(tile, mode) for tile in image.tile]
            _load_upright(image)
            if raw_mode == "LA;16B":
                return np.repeat(np.asarray(image)[..., 1:2], 3, axis=2)
            return np.asarray(image)[..., :3]

    return read


def _with_mode(tile: Any, mode: str) -> Any:
    return tile._replace(args=mode if isinstance(tile.args, str) else (mode, *tile.args[1:]))
