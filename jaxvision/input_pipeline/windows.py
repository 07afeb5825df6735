"""One of the user's pictures, of any size, read a few rows at a time.

With rasterio (the extra `[geo]`) large TIFFs, PNGs and JPEGs of 8 or 16 bits are read by window
through GDAL, so the host holds only the rows that were asked for, as is what GDAL alone can read.
A picture is decoded whole instead, as a training image is (`images.decode_image`; 3 bytes a pixel,
13 while it is decoded),
  - when rasterio is not installed;
  - when its orientation tag turns it: a window of the file is then no window of the picture;
  - when its bands are not colours of 8 or 16 bits: a palette, one bit, CMYK, floats;
  - for a JPEG of up to 2**26 pixels: GDAL's JPEG decoder gives slightly other colours than the one
    that read the training images (0.5 levels on average, 8 at worst, on a synthetic photograph).

Windows become colours by the same rules (`tiff.colour_bands`, `pixels.scale`).
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from jaxvision.errors import FileError
from jaxvision.input_pipeline import images, pixels, tiff
from jaxvision.input_pipeline.tiff import GDAL_OPTIONS

__all__ = ["GDAL_OPTIONS", "Georeference", "ImageRows", "open_rows"]

WHOLE_JPEG_PIXELS = 2**26  # under 1 GiB while it is decoded
WHOLE_MODES = {"1", "P", "PA", "CMYK", "LAB", "I", "F"}  # Pillow's names


class Georeference(NamedTuple):
    """Where a picture lies on Earth.

    Attributes:
      crs: rasterio CRS.
      transform: Affine, (x, y) in pixels from the top-left corner -> coordinates in that CRS.
    """

    crs: Any
    transform: Any

    def place(self, points: np.ndarray) -> np.ndarray:
        """(x, y) in pixels, [..., 2] -> the same in the CRS."""
        a, b, c, d, e, f = self.transform[:6]
        return points @ np.array([[a, d], [b, e]]) + np.array([c, f])


class ImageRows(NamedTuple):
    """An open picture.

    Attributes:
      height, width: pixels, as the picture is looked at (orientation applied).
      read: (top, bottom) -> uint8 [bottom - top, width, 3]. Once down the picture is fast; going
        back up can decode the file again from its start.
      georeference: None where the file has none, and without rasterio.
    """

    height: int
    width: int
    read: Callable[[int, int], np.ndarray]
    georeference: Georeference | None


@contextlib.contextmanager
def open_rows(path: Path, value_range: Sequence[float] = ()) -> Iterator[ImageRows]:
    """Opens a picture; its rows can be read inside the block.

    Args:
      path: of a file.
      value_range: `data.range`, as of `images.decode_image`.

    Raises:
      FileError: no such file, no picture, pixels that are no colours, truncated or damaged. Where
        the picture is read by window, `read` is what raises the last two.
    """
    if not path.is_file():
        raise FileError(f"{path}: no such file; give the path of an image")
    with contextlib.ExitStack() as stack:
        dataset = _open_dataset(path, stack)
        if dataset is None:
            yield _whole(path, value_range, None)
            return
        header = _header(path)
        georeference = _georeference(dataset) if header.upright else None
        if header.by_window and set(dataset.dtypes) <= {"uint8", "uint16"}:
            yield _by_window(path, dataset, header.page, value_range, georeference)
        else:
            yield _whole(path, value_range, georeference)


def read_georeference(path: Path) -> Georeference | None:
    """Where a picture file lies on Earth, without its pixels; None as in `ImageRows`."""
    with contextlib.ExitStack() as stack:
        dataset = _open_dataset(path, stack)
        if dataset is None or not _header(path).upright:
            return None
        return _georeference(dataset)


def georeference_of_bytes(data: bytes) -> Georeference | None:
    """`read_georeference` of a TIFF's content; None of any other kind of file."""
    if data[:4] not in tiff.MAGIC or tiff.open_page(data).orientation != 1:
        return None
    try:
        import rasterio
    except ImportError:
        return None
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(**GDAL_OPTIONS))
        memory = stack.enter_context(rasterio.MemoryFile(data))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                dataset = stack.enter_context(memory.open(driver="GTiff"))
        except rasterio.errors.RasterioError:  # Pillow read it; GDAL need not
            return None
        return _georeference(dataset)


def _open_dataset(path: Path, stack: contextlib.ExitStack) -> Any | None:
    """The rasterio dataset; None without rasterio or where GDAL does not know the format."""
    try:
        import rasterio
    except ImportError:
        return None
    stack.enter_context(rasterio.Env(**GDAL_OPTIONS))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = stack.enter_context(rasterio.open(path.resolve()))
    except rasterio.errors.RasterioError:
        return None
    return dataset if dataset.count else None  # a container of other data sets has no bands


class _Header(NamedTuple):
    upright: bool
    by_window: bool
    page: tiff.Page | None = None


def _header(path: Path) -> _Header:
    """What the file says before its pixels are decoded.

    Raises:
      FileError: it holds several pages.
    """
    with open(path, "rb") as file:
        is_tiff = file.read(4) in tiff.MAGIC
    if is_tiff:
        with images.reasons(path):
            page = tiff.open_page(path)
        upright = page.orientation == 1
        plain = page.kind == "u" and page.photometric in (0, 1, 2, 6) and page.index == 0
        return _Header(upright, upright and plain and page.bits in (8, *range(10, 17)), page)
    try:
        with Image.open(path) as image:
            plain_png = image.format == "PNG" and _plain_png(image)
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
            small_jpeg = image.width * image.height <= WHOLE_JPEG_PIXELS
            large_jpeg = image.format in ("JPEG", "MPO") and not small_jpeg
            by_window = (large_jpeg or plain_png) and image.mode not in WHOLE_MODES
            return _Header(upright, upright and by_window)
    except Exception:  # another format, or damage of any kind, which GDAL then meets as well
        return _Header(True, True)


def _plain_png(image: Image.Image) -> bool:
    """8 bits, one frame: what more bits mean is for `images` to find out."""
    return image.mode in ("L", "LA", "RGB", "RGBA") and not (
        getattr(image, "is_animated", False) or images.is_deep(image)
    )


def _whole(path: Path, value_range: Sequence[float], georeference) -> ImageRows:
    # No limit of pixels: it guards against files from strangers, and this is the user's own.
    picture = images.decode_image(path, value_range, max_pixels=2**62)
    height, width, _ = picture.shape
    return ImageRows(height, width, lambda top, bottom: picture[top:bottom], georeference)


def _by_window(
    path: Path,
    dataset: Any,
    page: tiff.Page | None,
    stated: Sequence[float],
    georeference: Georeference | None,
) -> ImageRows:
    import rasterio

    with images.reasons(path):
        bands = [band + 1 for band in tiff.colour_bands(*tiff.declared_colours(dataset))]
    if dataset.colorinterp[0].name == "palette":
        raise FileError(f"{path}: a palette of colours; convert it: gdal_translate -expand rgb")
    height, width = dataset.height, dataset.width
    span = _range(dataset, page)
    brightest, outside = 0, 0

    def read(top: int, bottom: int) -> np.ndarray:
        nonlocal brightest, outside
        window = rasterio.windows.Window(0, top, width, bottom - top)
        try:
            rows = dataset.read(bands, window=window)  # [bands, rows, width]
        except rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise FileError(f"{path}: truncated or damaged ({reason}); copy it again") from error
        if rows.dtype == np.uint16:
            brightest = max(brightest, int(rows.max()))
            if stated:
                outside += np.count_nonzero((rows < stated[0]) | (rows > stated[1]))
            if bottom == height:
                with images.reasons(path):
                    if stated:
                        pixels.refuse_outside(outside / (len(bands) * height * width), stated)
                    elif span is None:
                        pixels.refuse_dark(brightest)
            rows = pixels.scale(rows, *(stated or span or pixels.FULL_16))
        rows = 255 - rows if page and page.white_is_zero else rows
        rows = rows.transpose(1, 2, 0)  # [rows, width, bands]
        return np.repeat(rows, 3, axis=2) if len(bands) == 1 else np.ascontiguousarray(rows)

    return ImageRows(height, width, read, georeference)


def _range(dataset: Any, page: tiff.Page | None) -> tuple[float, float] | None:
    """(low, high) that the file declares of values of more than 8 bits; None where it does not."""
    if page:
        return page.declared
    bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 16))
    return (0.0, float(2**bits - 1)) if 8 < bits < 16 else None


def _georeference(dataset: Any) -> Georeference | None:
    """None also where the CRS has no way to longitude and latitude (a site's own grid, say)."""
    import rasterio.warp

    if dataset.crs is None or dataset.transform.is_identity:
        return None
    georeference = Georeference(dataset.crs, dataset.transform)
    x, y = georeference.place(np.array([dataset.width / 2, dataset.height / 2]))
    try:
        degrees = rasterio.warp.transform(dataset.crs, "EPSG:4326", [x], [y])
    except Exception:  # rasterio lets GDAL's own errors through, and their classes are private
        return None
    return georeference if np.isfinite(degrees).all() else None
