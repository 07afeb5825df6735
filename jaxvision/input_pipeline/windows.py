"""One of the user's pictures, of any size, read a few rows at a time.

With rasterio (the extra `[geo]`) a file is read by window through GDAL, so the host holds only the
rows that were asked for, and any raster format will do. The picture is decoded whole instead, as
a training image is (`images.decode_image`; 3 bytes a pixel, 13 while it is decoded),
  - when rasterio is not installed;
  - when its orientation tag turns it: a window of the file is then no window of the picture;
  - when its bands are not colours, or not of 8 or 16 bits: a palette, one bit, CMYK, floats;
  - for a JPEG of up to 2**26 pixels: GDAL's JPEG decoder gives slightly other colours than the one
    that read the training images (0.5 levels on average, 8 at worst, on a synthetic photograph).

Windows become colours by the same rules: one band is repeated as gray, alpha is dropped, of more
than three bands the first three are taken, and 16-bit values keep their high byte.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images

GDAL_OPTIONS = dict(
    GDAL_CACHEMAX=128,  # megabytes; else 5 % of the machine's memory
    GDAL_PNG_WHOLE_IMAGE_OPTIM=False,  # that path reads a truncated PNG without an error
    GDAL_ERROR_ON_LIBJPEG_WARNING=True,  # else a truncated JPEG ends in gray
)
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
def open_rows(path: Path) -> Iterator[ImageRows]:
    """Opens a picture; its rows can be read inside the block.

    Raises:
      UserError: no such file, no picture, pixels that are no colours, truncated or damaged. Where
        the picture is read by window, `read` is what raises the last two.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of an image")
    with contextlib.ExitStack() as stack:
        dataset = _open_dataset(path, stack)
        if dataset is None:
            yield _whole(path, None)
            return
        header = _header(path)
        georeference = _georeference(dataset) if header.upright else None
        if header.by_window:
            _check_bands(path, dataset)
            yield _by_window(path, dataset, georeference)
        else:
            yield _whole(path, georeference)


def read_georeference(path: Path) -> Georeference | None:
    """Where a picture file lies on Earth, without its pixels; None as in `ImageRows`."""
    with contextlib.ExitStack() as stack:
        dataset = _open_dataset(path, stack)
        if dataset is None or not _header(path).upright:
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


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lifts Pillow's limit: it guards against files from strangers, and this is the user's own."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


class _Header(NamedTuple):
    upright: bool
    by_window: bool


def _header(path: Path) -> _Header:
    """What Pillow says of the file before its pixels are decoded."""
    try:
        with _any_size(), Image.open(path) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
            jpeg = image.format in ("JPEG", "MPO")
            small_jpeg = jpeg and image.width * image.height <= WHOLE_JPEG_PIXELS
            return _Header(upright, upright and not small_jpeg and image.mode not in WHOLE_MODES)
    except Exception:  # another format, or damage of any kind, which GDAL then meets as well
        return _Header(True, True)


def _whole(path: Path, georeference: Georeference | None) -> ImageRows:
    with _any_size():
        pixels = images.decode_image(path)
    height, width, _ = pixels.shape
    return ImageRows(height, width, lambda top, bottom: pixels[top:bottom], georeference)


def _by_window(path: Path, dataset: Any, georeference: Georeference | None) -> ImageRows:
    import rasterio

    height, width = dataset.height, dataset.width
    bands = [1, 2, 3] if dataset.count >= 3 else [1]
    brightest = 0

    def read(top: int, bottom: int) -> np.ndarray:
        nonlocal brightest
        window = rasterio.windows.Window(0, top, width, bottom - top)
        try:
            rows = dataset.read(bands, window=window)  # [bands, rows, width]
        except rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"{path}: truncated or damaged ({reason}); copy it again") from error
        if rows.dtype == np.uint16:
            brightest = max(brightest, int(rows.max()))
            if bottom == height and 0 < brightest < 256:
                raise UserError(
                    f"{path}: 16-bit pixels of at most {brightest}: black once cut to 8 bit; "
                    "save it as 8 bit"
                )
            rows = (rows >> 8).astype(np.uint8)
        rows = rows.transpose(1, 2, 0)  # [rows, width, bands]
        return np.repeat(rows, 3, axis=2) if len(bands) == 1 else np.ascontiguousarray(rows)

    return ImageRows(height, width, read, georeference)


def _check_bands(path: Path, dataset: Any) -> None:
    if not set(dataset.dtypes[:3]) <= {"uint8", "uint16"}:
        raise UserError(
            f"{path}: pixels of type {dataset.dtypes[0]}; convert it to 8 bit, for example with "
            "gdal_translate -ot Byte -scale"
        )
    if dataset.colorinterp[0].name == "palette":
        raise UserError(f"{path}: a palette of colours; convert it: gdal_translate -expand rgb")


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
