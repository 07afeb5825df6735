"""Masks as files: mask, probability, overlay and footprints, of a picture in memory or of a stream.

A stream goes through `tiling` once, from top to bottom. Finished rows go to two temporary files of
one byte a pixel in the output folder, from which the PNGs are then written row by row, so the host
never holds the picture. Only footprints take memory by their number.

Files appear in the output folder at the end, whole or not at all:
  <stem>.png               the mask: 8-bit gray, 0 or 255; of several classes their numbers, with
                           a palette
  <stem>_probability.png   where asked: 8-bit gray, 255 is 1; of the class that the mask says
  <stem>_side_by_side.jpg  where asked: the picture | the mask over it, at most 2048 pixels long,
                           above the names of classes
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
from jaxvision.tasks.segmentation.labels import BUILDING, Labels, as_image, count, layer, stored
from jaxvision.tasks.segmentation.overlay import (
    BlockMeans,
    reduced,
    side_by_side,
    to_uint8,
    with_legend,
)

STREAM_PIXELS = 2**24  # larger pictures are not held as a whole


def write(
    options: ConfigDict,
    footprints: Callable[..., dict[str, Any]],
    labels: Labels,
    picture: np.ndarray,
    prediction: Prediction,
    path: Path,
    output: Path,
) -> dict[str, Any]:
    """Writes the answer for the picture that was read from `path`.

    Args:
      options: `config.predict` says what is written.
      footprints: (prediction, georeference) -> FeatureCollection.
      labels: what a pixel may be.
      picture, prediction, path, output: as of `Predictor.write`.

    Returns:
      what belongs into the record: 'footprints' (how many; None where none are written), and the
      path of each file under mask, probability, side_by_side and polygons.

    Raises:
      UserError: the output folder cannot be written.
    """
    mask, found = prediction.arrays["mask"], None
    names = _names(options, Path(path))
    with _published(Path(output)) as folder:
        as_image(labels, mask).save(folder / names["mask"])
        if options.probability:
            gray = to_uint8(prediction.arrays["probability"] * 255)
            Image.fromarray(gray).save(folder / names["probability"])
        if options.side_by_side:
            panels = side_by_side(reduced(picture), reduced(layer(labels, mask)))
            _with_names(labels, panels).save(folder / names["side_by_side"], quality=90)
        if options.polygons:
            collection = footprints(prediction, read_georeference(Path(path)))
            found = write_collection(collection, folder / names["polygons"])
    return {"footprints": found, **_paths(names, output)}


def _with_names(labels: Labels, panels: Image.Image) -> Image.Image:
    if not labels.classes:
        return panels
    return Image.fromarray(with_legend(np.asarray(panels), labels.classes, labels.palette))


def streams(path: Path, values: int = 1) -> bool:
    """Whether a picture is read by rows: a large one, or a TIFF, which rasterio reads in any form.

    `values` are probabilities a pixel, which count as pixels do. So is what Pillow cannot open,
    which rasterio may; `stream` then says what is wrong with it.
    """
    try:
        with Image.open(path) as image:
            return image.format == "TIFF" or image.width * image.height * values > STREAM_PIXELS
    except Exception:  # damage of any kind; also a size that Pillow refuses
        return True


def stream(
    options: ConfigDict,
    value_range: tuple,
    apply: Callable[[Iterable[tuple[Any, np.ndarray]]], Iterator[tuple[Any, dict]]],
    path: str | os.PathLike,
    output: str | os.PathLike,
    fitted: dict[str, float],
    labels: Labels = BUILDING,
) -> dict[str, Any]:
    """Segments the picture at `path` in bounded memory.

    Args:
      options: `config.predict`.
      value_range: `data.range`, of the pixels' values.
      apply, path, output, fitted: as of `Predictor.stream`; it is given one tile at a time.
      labels: what a pixel may be.

    Returns:
      A JSON-able record: that of `predictor.decode`, and what `write` returns.

    Raises:
      UserError: a file that cannot be read, an output folder that cannot be written.
    """
    path, output = Path(path), Path(output)
    names, found = _names(options, path), None
    with (
        open_rows(path, value_range) as image,
        _published(output) as folder,
        _raw_files(folder) as raw,
    ):
        pixels, panels = _segment(options, labels, apply, image, raw, fitted)
        size = image.height, image.width
        palette = labels.palette.tolist() if labels.classes else None
        _write_png(folder / names["mask"], raw.mask, *size, palette)
        if options.probability:
            _write_png(folder / names["probability"], raw.probability, *size)
        if options.side_by_side:
            _with_names(labels, panels).save(folder / names["side_by_side"], quality=90)
        if options.polygons:
            found = write_footprints(
                folder / names["mask"],
                _rows(raw.probability, *size),
                folder / names["polygons"],
                tolerance=options.tolerance,
                min_area=options.min_area,
                georeference=image.georeference,
                labels=labels,
            )
    return {
        "file": str(path),
        "width": image.width,
        "height": image.height,
        **labels.tell(pixels, fitted),
        "footprints": found,
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
    options: ConfigDict,
    labels: Labels,
    apply: Callable,
    image: ImageRows,
    raw: _Raw,
    fitted: dict[str, float],
) -> tuple[np.ndarray, Image.Image]:
    """Fills the raw files; returns pixels of each value and the side by side picture."""
    photo = BlockMeans(image.height, image.width, 3)
    overlay = BlockMeans(image.height, image.width, 4 if labels.classes else 1)
    pixels = 0

    def read(top: int, bottom: int) -> np.ndarray:
        rows = image.read(top, bottom)
        photo.add(rows)
        return rows

    output = labels.output[0]
    for rows in _probability_rows(options, output, apply, read, image.height, image.width):
        mask, probability = labels.assign(rows, fitted)
        pixels = pixels + count(labels, mask)
        overlay.add(layer(labels, mask))
        raw.mask.write(stored(labels, mask).tobytes())
        raw.probability.write(to_uint8(probability * 255).tobytes())
    return pixels, side_by_side(photo.means(), overlay.means())


def _probability_rows(
    options: ConfigDict,
    output: str,
    apply: Callable,
    read: Callable[[int, int], np.ndarray],
    height: int,
    width: int,
) -> Iterator[np.ndarray]:
    """Yields `output`, float32 [rows, width] or [rows, width, K], from top to bottom."""
    down, across = (tiling.choose_axis(n, options.tile, options.overlap) for n in (height, width))
    tiles = enumerate(tile[None] for tile in tiling.cut_rows(read, down, across))
    probabilities = (outputs[output][0] for _, outputs in apply(tiles))
    total = len(down.starts) * len(across.starts)
    yield from tiling.join_rows(counted(probabilities, "predicting tiles", total), down, across)


def _rows(file: BinaryIO, height: int, width: int) -> Iterator[np.ndarray]:
    """The rows of a raw file from its start: uint8 [width] each."""
    file.seek(0)
    for _ in range(height):
        yield np.frombuffer(file.read(width), np.uint8)


def _write_png(path: Path, raw: BinaryIO, height: int, width: int, palette: Any = None) -> None:
    kind = {"palette": palette} if palette else {"greyscale": True}
    with open(path, "wb") as file:
        png.Writer(width, height, bitdepth=8, **kind).write(file, _rows(raw, height, width))
