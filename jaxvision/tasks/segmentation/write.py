"""Masks as files: mask, probability, overlay and footprints, of a picture in memory or of a stream.

A stream goes through `tiling` once, from top to bottom. Finished rows go to two temporary files of
one byte a pixel in the output folder, from which the PNGs are then written row by row, so the host
never holds the picture. Only footprints take memory by their number.

Files appear in the output folder at the end, whole or not at all:
  <stem>.png               the mask: 8-bit gray, 0 or 255
  <stem>_probability.png   where asked: 8-bit gray, 255 is 1
  <stem>_side_by_side.jpg  where asked: the picture | the mask over it, at most 2048 pixels long
  <stem>.geojson           where asked: see `footprints`
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import png
from ml_collections import ConfigDict
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.parallel import counted
from jaxvision.input_pipeline.windows import ImageRows, open_rows, read_georeference
from jaxvision.task import Prediction
from jaxvision.tasks.segmentation import tiling
from jaxvision.tasks.segmentation.footprints import write_collection, write_footprints
from jaxvision.tasks.segmentation.overlay import BlockMeans, reduced, side_by_side, to_uint8

STREAM_PIXELS = 2**24  # larger pictures are not held as a whole


def write(
    options: ConfigDict,
    footprints: Callable[..., dict[str, Any]],
    picture: np.ndarray,
    prediction: Prediction,
    path: Path,
    output: Path,
) -> dict[str, Any]:
    """Writes the answer for the picture that was read from `path`.

    Args:
      options: `config.predict` says what is written.
      footprints: (prediction, georeference) -> FeatureCollection.
      picture, prediction, path, output: as of `Predictor.write`.

    Returns:
      what belongs into the record: 'footprints' (how many; None where none are written), and the
      path of each file under mask, probability, side_by_side and polygons.

    Raises:
      UserError: the output folder cannot be written.
    """
    mask = np.where(prediction.arrays["mask"], np.uint8(255), np.uint8(0))
    names, count = _names(options, Path(path)), None
    with _published(Path(output)) as folder:
        Image.fromarray(mask).save(folder / names["mask"])
        if options.probability:
            gray = to_uint8(prediction.arrays["probability"] * 255)
            Image.fromarray(gray).save(folder / names["probability"])
        if options.side_by_side:
            panels = side_by_side(reduced(picture), reduced(mask[:, :, None]))
            panels.save(folder / names["side_by_side"], quality=90)
        if options.polygons:
            collection = footprints(prediction, read_georeference(Path(path)))
            count = write_collection(collection, folder / names["polygons"])
    return {"footprints": count, **_paths(names, output)}


def streams(path: Path) -> bool:
    """Whether a picture is read by rows: a large one, or a TIFF, which rasterio reads in any form.

    So is what Pillow cannot open, which rasterio may; `stream` then says what is wrong with it.
    """
    try:
        with Image.open(path) as image:
            return image.format == "TIFF" or image.width * image.height > STREAM_PIXELS
    except Exception:  # damage of any kind; also a size that Pillow refuses
        return True


def stream(
    options: ConfigDict,
    value_range: tuple,
    apply: Callable[[Iterable[tuple[Any, np.ndarray]]], Iterator[tuple[Any, dict]]],
    path: str | os.PathLike,
    output: str | os.PathLike,
    fitted: dict[str, float],
) -> dict[str, Any]:
    """Segments the picture at `path` in bounded memory.

    Args:
      options: `config.predict`.
      value_range: `data.range`, of the pixels' values.
      apply, path, output, fitted: as of `Predictor.stream`; it is given one tile at a time.

    Returns:
      A JSON-able record: that of `predictor.decode`, and what `write` returns.

    Raises:
      UserError: a file that cannot be read, an output folder that cannot be written.
    """
    path, output = Path(path), Path(output)
    names, count = _names(options, path), None
    threshold = fitted.get("threshold", 0.5)
    with (
        open_rows(path, value_range) as image,
        _published(output) as folder,
        _raw_files(folder) as raw,
    ):
        share, panels = _segment(options, apply, image, raw, threshold)
        size = image.height, image.width
        _write_png(folder / names["mask"], raw.mask, *size)
        if options.probability:
            _write_png(folder / names["probability"], raw.probability, *size)
        if options.side_by_side:
            panels.save(folder / names["side_by_side"], quality=90)
        if options.polygons:
            count = write_footprints(
                folder / names["mask"],
                _rows(raw.probability, *size),
                folder / names["polygons"],
                tolerance=options.tolerance,
                min_area=options.min_area,
                georeference=image.georeference,
            )
    return {
        "file": str(path),
        "width": image.width,
        "height": image.height,
        "building_share": share,
        "threshold": threshold,
        "footprints": count,
        **_paths(names, output),
    }


def _names(options: ConfigDict, path: Path) -> dict[str, str]:
    """{kind: name} of the files that are asked for."""
    names = {"mask": f"{path.stem}.png"}
    if options.probability:
        names["probability"] = f"{path.stem}_probability.png"
    if options.side_by_side:
        names["side_by_side"] = f"{path.stem}_side_by_side.jpg"
    if options.polygons:
        names["polygons"] = f"{path.stem}.geojson"
    return names


def _paths(names: dict[str, str], output: str | os.PathLike) -> dict[str, str]:
    return {kind: str(Path(output) / name) for kind, name in names.items()}


@contextlib.contextmanager
def _published(output: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `output` at the end of the block, if it ends well.

    Raises:
      UserError: `output` cannot be made or written, or its disk is full.
    """
    folder = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".part-", dir=output))  # a rename stays on one disk
        yield folder
        for file in sorted(folder.iterdir()):
            os.replace(file, output / file.name)
    except OSError as error:  # reading the picture raises UserError, so this is about writing
        reason = error.strerror or error
        raise UserError(f"cannot write into {output} ({reason}); choose another output") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


class _Raw(NamedTuple):
    """Open files of one byte a pixel, rows from the top."""

    mask: BinaryIO
    probability: BinaryIO


@contextlib.contextmanager
def _raw_files(folder: Path) -> Iterator[_Raw]:
    """On the output's disk: /tmp may well be memory."""
    with (
        tempfile.TemporaryFile(dir=folder) as mask,
        tempfile.TemporaryFile(dir=folder) as probability,
    ):
        yield _Raw(mask, probability)


def _segment(
    options: ConfigDict, apply: Callable, image: ImageRows, raw: _Raw, threshold: float
) -> tuple[float, Image.Image]:
    """Fills the raw files; returns the share of building pixels and the side by side picture."""
    photo = BlockMeans(image.height, image.width, 3)
    overlay = BlockMeans(image.height, image.width, 1)
    count = 0

    def read(top: int, bottom: int) -> np.ndarray:
        rows = image.read(top, bottom)
        photo.add(rows)
        return rows

    for rows in _probability_rows(options, apply, read, image.height, image.width):
        building = rows >= threshold
        mask = np.where(building, np.uint8(255), np.uint8(0))
        count += np.count_nonzero(building)
        overlay.add(mask[:, :, None])
        raw.mask.write(mask.tobytes())
        raw.probability.write(to_uint8(rows * 255).tobytes())
    return count / (image.height * image.width), side_by_side(photo.means(), overlay.means())


def _probability_rows(
    options: ConfigDict,
    apply: Callable,
    read: Callable[[int, int], np.ndarray],
    height: int,
    width: int,
) -> Iterator[np.ndarray]:
    """Yields the probability, float32 [rows, width], from the top of the picture to its end."""
    down, across = (tiling.choose_axis(n, options.tile, options.overlap) for n in (height, width))
    tiles = enumerate(tile[None] for tile in tiling.cut_rows(read, down, across))
    probabilities = (outputs["probability"][0] for _, outputs in apply(tiles))
    total = len(down.starts) * len(across.starts)
    yield from tiling.join_rows(counted(probabilities, "predicting tiles", total), down, across)


def _rows(file: BinaryIO, height: int, width: int) -> Iterator[np.ndarray]:
    """The rows of a raw file from its start: uint8 [width] each."""
    file.seek(0)
    for _ in range(height):
        yield np.frombuffer(file.read(width), np.uint8)


def _write_png(path: Path, raw: BinaryIO, height: int, width: int) -> None:
    with open(path, "wb") as file:
        png.Writer(width, height, greyscale=True, bitdepth=8).write(file, _rows(raw, height, width))
