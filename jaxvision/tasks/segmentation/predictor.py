"""From a picture of any size to its mask and footprints; needs numpy alone (footprints: [geo])."""

import functools
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.input_pipeline.images import EXTENSIONS
from jaxvision.input_pipeline.windows import Georeference
from jaxvision.task import Prediction, Predictor, Prepared
from jaxvision.tasks.segmentation import table, tiling, write
from jaxvision.tasks.segmentation.footprints import footprints, require_geo
from jaxvision.tasks.segmentation.overlay import mask_over


def make(options: ConfigDict, value_range: tuple = ()) -> Predictor:
    """The predictor of `config.predict`; `value_range` is `data.range`, for files that stream.

    Raises:
      UserError: options that cannot work; polygons without rasterio or shapely.
    """
    check(options)
    outline = functools.partial(_footprints, options)
    return Predictor(
        prepare=functools.partial(prepare, options),
        decode=decode,
        render=render,
        describe=describe,
        write=functools.partial(write.write, options, outline),
        extensions=EXTENSIONS,
        streams=write.streams,
        stream=functools.partial(write.stream, options, value_range),
        geojson=outline,
        columns=table.COLUMNS,
        row=functools.partial(table.row, outline if options.polygons else None),
        meaning={
            "images": "a photo, or tiles of it, RGB, 0 to 255; at the scale that it was trained on",
            "probability": "of building, of each pixel; it is one from fitted.threshold on",
        },
    )


def check(options: ConfigDict) -> None:
    """Raises UserError where options of `config.predict` cannot work."""
    if options.polygons:
        require_geo()


class Tiles(NamedTuple):
    """How a picture was cut: its two axes."""

    down: tiling.Axis
    across: tiling.Axis


def prepare(options: ConfigDict, picture: np.ndarray) -> Prepared:
    """The tiles of a picture, uint8 [N, th, tw, 3]; th and tw follow from its size."""
    axes = (tiling.choose_axis(n, options.tile, options.overlap) for n in picture.shape[:2])
    tiles = Tiles(*axes)
    return Prepared(tiling.cut(picture, *tiles), tiles)


def decode(outputs: dict[str, np.ndarray], tiles: Tiles, fitted: dict[str, float]) -> Prediction:
    """{width, height, building_share (of the pixels), threshold}, and {mask: bool, probability:
    float32}, each [H, W].
    """
    threshold = fitted.get("threshold", 0.5)
    probability = tiling.join(outputs["probability"], *tiles)
    mask = probability >= threshold
    record = {
        "width": tiles.across.length,
        "height": tiles.down.length,
        "building_share": np.count_nonzero(mask) / mask.size,
        "threshold": threshold,
    }
    return Prediction(record, {"mask": mask, "probability": probability})


def render(picture: np.ndarray, prediction: Prediction) -> np.ndarray:
    """The picture with the mask over it."""
    return mask_over(picture, prediction.arrays["mask"])


def describe(record: dict[str, Any]) -> str:
    """'building 12.3 % of the picture, 41 footprints'."""
    text = f"building {100 * record['building_share']:.1f} % of the picture"
    count = record.get("footprints")
    return text if count is None else f"{text}, {count} footprint{'s' * (count != 1)}"


def _footprints(
    options: ConfigDict, prediction: Prediction, georeference: Georeference | None = None
) -> dict[str, Any]:
    """The FeatureCollection of a mask: degrees where there is a georeference, else pixels."""
    return footprints(
        prediction.arrays["mask"],
        prediction.arrays["probability"],
        tolerance=options.tolerance,
        min_area=options.min_area,
        georeference=georeference,
    )
