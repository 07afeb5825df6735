"""What a TIFF declares of its pixels, and the pixels of those that Pillow reads wrongly or not."""

import io
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import TiffImagePlugin

from jaxvision.errors import UserError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What GDAL warns of is told by our own line where it matters, and by none where it does not.
logging.getLogger("rasterio").setLevel(logging.CRITICAL)
GDAL_OPTIONS = dict(
    GDAL_CACHEMAX=128,  # megabytes; else 5 % of the machine's memory
    GDAL_PNG_WHOLE_IMAGE_OPTIM=False,  # that path reads a truncated PNG without an error
    GDAL_ERROR_ON_LIBJPEG_WARNING=True,  # else a truncated JPEG ends in gray
)
MOST_PAGES = 4096
SPECTRAL = ("red", "green", "blue", "nir", "swir", "rededge", "pan", "coastal")
_KINDS = {1: "u", 2: "i", 3: "f"}


class Page(NamedTuple):
    """One picture of a TIFF, by its tags.

    Attributes:
      index: of the page in the file.
      height, width: pixels, as stored.
      samples: bands.
      bits: of a band.
      kind: 'u', 'i' or 'f', as numpy's.
      photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, ...
      planar: band after band.
      orientation: EXIF's, 1 to 8.
      declared: (low, high); None where the tags do not tell.
      names: colour of each band where GDAL's metadata name it, else ''.
    """

    index: int
    height: int
    width: int
    samples: int
    bits: int
    kind: str
    photometric: int
    planar: bool
    orientation: int
    declared: tuple[float, float] | None
    names: tuple[str, ...]

    @property
    def rgb(self) -> bool:
        return self.photometric == 2

    @property
    def white_is_zero(self) -> bool:
        return self.photometric == 0


def read_page(file: BinaryIO) -> Page:
    """The one full picture of a TIFF: its thumbnails, overviews and transparency masks aside.

    Raises:
      UserError: it holds several.
      Exception: of many kinds, for a damaged file.
    """
    header = file.read(8)
    if header[2] == 43 or header[3] == 43:  # BigTIFF
        header += file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    offset, seen, pages = directory.next, set(), []
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        directory.load(file)
        if not int(_first(directory, 254, 0)) & 0b101:  # reduced resolution, transparency mask
            pages.append(_page(directory, len(seen) - 1))
        offset = directory.next
    if len(pages) != 1:
        raise UserError(f"a TIFF of {len(pages)} pages: save the one to use as a file of its own")
    return pages[0]


def _first(directory: Any, tag: int, default: Any) -> Any:
    value = directory.get(tag, default)
    return value[0] if isinstance(value, tuple) and value else value


def _page(directory: Any, index: int) -> Page:
    bits = max(np.atleast_1d(directory.get(258, 1)).tolist())
    kind = _KINDS.get(_first(directory, 339, 1), "u")
    samples = int(_first(directory, 277, 1))
    return Page(
        index=index,
        height=int(_first(directory, 257, 0)),
        width=int(_first(directory, 256, 0)),
        samples=samples,
        bits=bits,
        kind=kind,
        photometric=int(_first(directory, 262, 1)),
        planar=_first(directory, 284, 1) == 2,
        orientation=int(_first(directory, 274, 1)) or 1,
        declared=_declared(directory, bits, kind),
        names=_names(str(directory.get(42112, "")), samples),
    )


def _declared(directory: Any, bits: int, kind: str) -> tuple[float, float] | None:
    if kind == "u" and bits not in (8, 16, 32, 64):
        return 0.0, float(2**bits - 1)
    for low, high in ((340, 341), (280, 281)):  # SMin, SMaxSampleValue; Min, MaxSampleValue
        top = directory.get(high)
        if top is None:
            continue
        top = float(np.max(top))
        bottom = float(np.min(directory.get(low, 0)))
        if np.isfinite(top) and np.isfinite(bottom) and bottom < top:
            return bottom, top
    return None


def _names(metadata: str, samples: int) -> tuple[str, ...]:
    """Of GDAL's metadata: what the bands are described as, else as which colour they are shown."""
    for role in ("description", "colorinterp"):
        names = [""] * samples
        pattern = rf'<Item[^>]*sample="(\d+)"[^>]*role="{role}"[^>]*>([^<]*)<'
        for number, text in re.findall(pattern, metadata):
            if int(number) < samples:
                names[int(number)] = spectral_name(text)
        if any(names):
            return tuple(names)
    return ("",) * samples


def spectral_name(text: str | None) -> str:
    """The colour that a band's description names: one of SPECTRAL, or ''."""
    words = re.findall(r"[a-z]+", (text or "").lower().replace("red edge", "rededge"))
    if "infrared" in words:
        return "nir"
    return next((word for word in words if word in SPECTRAL), "")


def colour_bands(names: Sequence[str], rgb: bool) -> list[int]:
    """Which bands are red, green and blue; one index for gray.

    Args:
      names: of each band, as `spectral_name` gives them.
      rgb: the file says that its first three bands are these, in this order.

    Raises:
      UserError: that cannot be known.
    """
    if len(names) <= 2:
        return [0]  # gray, with or without transparency
    if {"red", "green", "blue"} <= set(names):
        return [list(names).index(colour) for colour in ("red", "green", "blue")]
    if not any(names) and (rgb or len(names) == 3):
        return [0, 1, 2]
    declared = (
        f"called {', '.join(name or '?' for name in names)}" if any(names) else "without colours"
    )
    raise UserError(
        f"{len(names)} bands {declared}: which are red, green and blue is not declared; say it "
        "with gdal_edit.py -colorinterp_1 red -colorinterp_2 green -colorinterp_3 blue, or save as "
        "RGB"
    )


def pillow_reads(page: Page) -> bool:
    """Whether Pillow 13 gives every value of this layout rightly."""
    if page.samples == 1:
        return page.bits in (1, 2, 4, 8, 12, 16, 32) or (page.kind == "f" and page.bits == 64)
    if page.bits == 8 and page.kind == "u":
        return page.samples == 2 or page.photometric not in (0, 1)
    return page.bits == 16 and page.kind == "u" and not page.planar and page.samples in (3, 4)


def read_with_gdal(source: Path | bytes, page: Page, why: str) -> np.ndarray:
    """All bands of a page, [H, W] or [H, W, 3], as stored and not turned; colours by their names.

    Raises:
      UserError: rasterio is missing, GDAL cannot read it, or the colours of its bands are unknown.
    """
    try:
        import rasterio
    except ImportError as error:
        raise UserError(
            f'{why}, which only GDAL reads: pip install -e ".[geo]", or save as 8-bit RGB'
        ) from error
    place = io.BytesIO(source) if isinstance(source, bytes) else Path(source).resolve()
    with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(place, driver="GTiff") as dataset:
                if (dataset.height, dataset.width) != (page.height, page.width):
                    raise UserError(f"{why}; save it as 8-bit RGB")
                bands = colour_bands(*declared_colours(dataset))
                values = dataset.read([band + 1 for band in bands])  # [bands, H, W]
        except rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"damaged: {reason}") from error
    return values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0))


def declared_colours(dataset: Any) -> tuple[list[str], bool]:
    """(names, rgb) of `colour_bands` for an open rasterio dataset."""
    names = [spectral_name(text) for text in dataset.descriptions]
    interpretations = [i.name for i in dataset.colorinterp]
    if not any(names):
        names = [spectral_name(name) for name in interpretations]
    return names, interpretations[:3] == ["red", "green", "blue"]


def open_page(source: Path | bytes) -> Page:
    """`read_page` of a path or of bytes."""
    if isinstance(source, bytes):
        return read_page(io.BytesIO(source))
    with open(source, "rb") as file:
        return read_page(file)
