"""A segmentation of one picture of any size, as files: mask, probability, overlay and footprints.

The picture goes through `tiling` once, from top to bottom. Finished rows go to two temporary files
of one byte a pixel in the output folder, from which the PNGs are then written row by row, so the
host never holds the picture. Only footprints take memory by their number.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import png
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.windows import ImageRows, open_rows
from jaxvision.tasks.segmentation.footprints import require_geo, write_footprints
from jaxvision.tasks.segmentation.tiling import probability_rows

PANEL_PIXELS = 2048  # the longest side of a panel in the side by side picture
MASK_COLOUR = (255, 60, 0)


def segment_file(
    predict: Callable[[np.ndarray], Any],
    path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    threshold: float,
    tile: int,
    overlap: int,
    batch_size: int,
    save_probability: bool,
    save_polygons: bool,
    side_by_side: bool = True,
    tolerance: float = 1.0,
    min_area: float = 0,
) -> dict[str, Any]:
    """Segments the picture at `path`; its files appear in `output` at the end, whole or not at all.

    Writes <stem>.png (the mask: 8-bit gray, 0 or 255), and where asked <stem>_probability.png
    (8-bit gray, 255 is 1), <stem>_side_by_side.jpg (the picture | the mask over it, each at most
    2048 pixels long) and <stem>.geojson (see `footprints`).

    Args:
      predict: uint8 [batch_size, tile, tile, 3] -> probability [batch_size, tile, tile] in [0, 1];
        always called with this one shape, so it compiles once.
      threshold: a pixel is building where its probability is at least this.
      tile, overlap: pixels; see `tiling.probability_rows`.
      tolerance, min_area: pixels and square pixels; see `footprints.write_footprints`.

    Returns:
      A JSON-able record: file, width, height, building_share (of the pixels), footprints (how
      many; None without save_polygons), and under mask, probability, side_by_side and polygons
      the path of each file that was written.

    Raises:
      UserError: a file that cannot be read, tiles that cannot work, an output folder that cannot
        be written or is the picture's own, polygons without rasterio installed.
    """
    path, output = Path(path), Path(output)
    _check(path, output, tile, overlap, batch_size)
    if save_polygons:
        require_geo()
    tiling = dict(tile=tile, overlap=overlap, batch_size=batch_size)
    names, count = {"mask": f"{path.stem}.png"}, None
    with open_rows(path) as image, _published(output) as folder, _raw_files(folder) as raw:
        share, picture = _segment(predict, image, raw, threshold, tiling)
        size = image.height, image.width
        _write_png(folder / names["mask"], raw.mask, *size)
        if save_probability:
            names["probability"] = f"{path.stem}_probability.png"
            _write_png(folder / names["probability"], raw.probability, *size)
        if side_by_side:
            names["side_by_side"] = f"{path.stem}_side_by_side.jpg"
            picture.save(folder / names["side_by_side"], quality=90)
        if save_polygons:
            names["polygons"] = f"{path.stem}.geojson"
            count = write_footprints(
                folder / names["mask"],
                _rows(raw.probability, *size),
                folder / names["polygons"],
                tolerance=tolerance,
                min_area=min_area,
                georeference=image.georeference,
            )
    return {
        "file": str(path),
        "width": image.width,
        "height": image.height,
        "building_share": share,
        "footprints": count,
        **{kind: str(output / name) for kind, name in names.items()},
    }


def _check(path: Path, output: Path, tile: int, overlap: int, batch_size: int) -> None:
    if tile < 1 or batch_size < 1:
        raise UserError(f"tile {tile} and batch_size {batch_size} must be at least 1")
    if not 0 <= overlap < tile:
        raise UserError(f"overlap {overlap} must be at least 0 and below tile {tile} (pixels)")
    if output.resolve() == path.parent.resolve():
        raise UserError(
            f"output {output} is the folder of {path.name}, which masks could overwrite; "
            "choose another folder"
        )


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
    predict: Callable[[np.ndarray], Any],
    image: ImageRows,
    raw: _Raw,
    threshold: float,
    tiling: dict[str, int],
) -> tuple[float, Image.Image]:
    """Fills the raw files; returns the share of building pixels and the side by side picture."""
    seen = _BlockMeans(image.height, image.width, 3)
    found = _BlockMeans(image.height, image.width, 1)

    def read(top: int, bottom: int) -> np.ndarray:
        rows = image.read(top, bottom)
        seen.add(rows)
        return rows

    count = 0
    for rows in probability_rows(predict, read, image.height, image.width, **tiling):
        building = rows >= threshold
        mask = np.where(building, np.uint8(255), np.uint8(0))
        count += np.count_nonzero(building)
        found.add(mask[:, :, None])
        raw.mask.write(mask.tobytes())
        raw.probability.write(_uint8(rows * 255).tobytes())
    return count / (image.height * image.width), _side_by_side(seen.means(), found.means())


class _BlockMeans:
    """A picture reduced to PANEL_PIXELS or less a side: means over square blocks of pixels."""

    def __init__(self, height: int, width: int, channels: int):
        self.block = -(-max(height, width) // PANEL_PIXELS)
        self.columns = np.arange(0, width, self.block)
        blocks = np.arange(0, height, self.block)
        self.sums = np.zeros((len(blocks), len(self.columns), channels), np.uint32)
        across = np.diff(self.columns, append=width)
        self.pixels = np.outer(np.diff(blocks, append=height), across)[:, :, None]
        self.next_row = 0

    def add(self, rows: np.ndarray) -> None:
        """rows: uint8 [n, width, channels], the next ones down the picture."""
        end = self.next_row + len(rows)
        first = self.next_row // self.block
        starts = np.arange(first * self.block, end, self.block) - self.next_row
        sums = np.add.reduceat(rows, starts.clip(0), axis=0, dtype=np.uint32)
        sums = np.add.reduceat(sums, self.columns, axis=1)
        self.sums[first : first + len(sums)] += sums
        self.next_row = end

    def means(self) -> np.ndarray:
        """uint8 [blocks down, blocks across, channels]."""
        return np.stack([_uint8(s / n) for s, n in zip(self.sums, self.pixels, strict=True)])


def _uint8(values: np.ndarray) -> np.ndarray:
    return values.round().astype(np.uint8)


def _side_by_side(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """image: uint8 [H, W, 3]; mask: uint8 [H, W, 1], 255 where all is building."""
    gap = np.full((8, 3), 255, np.uint8)
    rows = []
    for colours, share in zip(image, mask, strict=True):  # by rows: floats take four times more
        opacity = share / np.float32(2 * 255)
        overlay = colours * (1 - opacity) + np.float32(MASK_COLOUR) * opacity
        rows.append(np.concatenate([colours, gap, _uint8(overlay)]))
    return Image.fromarray(np.stack(rows))


def _rows(file: BinaryIO, height: int, width: int) -> Iterator[np.ndarray]:
    """The rows of a raw file from its start: uint8 [width] each."""
    file.seek(0)
    for _ in range(height):
        yield np.frombuffer(file.read(width), np.uint8)


def _write_png(path: Path, raw: BinaryIO, height: int, width: int) -> None:
    with open(path, "wb") as file:
        png.Writer(width, height, greyscale=True, bitdepth=8).write(file, _rows(raw, height, width))
