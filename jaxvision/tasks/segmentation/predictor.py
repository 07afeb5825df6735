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
from jaxvision.tasks.segmentation.labels import BUILDING, Labels, count


def make(options: ConfigDict, value_range: tuple = (), labels: Labels = BUILDING) -> Predictor:
    """The predictor of `config.predict`.

    Args:
      options: `config.predict`.
      value_range: `data.range`, for files that stream.
      labels: what a pixel may be.

    Raises:
      UserError: options that cannot work; polygons without rasterio or shapely.
    """
    check(options)
    outline = functools.partial(_footprints, options, labels)
    output, meaning = labels.output
    return Predictor(
        prepare=functools.partial(prepare, options),
        decode=functools.partial(decode, labels),
        render=functools.partial(render, labels=labels),
        describe=functools.partial(describe, labels=labels),
        write=functools.partial(write.write, options, outline, labels),
        extensions=EXTENSIONS,
        streams=functools.partial(write.streams, values=len(labels.classes) or 1),
        stream=functools.partial(write.stream, options, value_range, labels=labels),
        geojson=outline,
        columns=table.columns(labels),
        row=functools.partial(table.row, labels, outline if options.polygons else None),
        palettes={"mask": labels.palette} if labels.classes else {},
        meaning={
            "images": "a photo, or tiles of it, RGB, 0 to 255; at the scale that it was trained on",
            output: meaning,
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


def decode(
    labels: Labels, outputs: dict[str, np.ndarray], tiles: Tiles, fitted: dict[str, float]
) -> Prediction:
    """{width, height} and what `labels.tell` says, and {mask, probability} of `labels.assign`."""
    mask, probability = labels.assign(tiling.join(outputs[labels.output[0]], *tiles), fitted)
    size = {"width": tiles.across.length, "height": tiles.down.length}
    record = {**size, **labels.tell(count(labels, mask), fitted)}
    return Prediction(record, {"mask": mask, "probability": probability})


def render(picture: np.ndarray, prediction: Prediction, labels: Labels = BUILDING) -> np.ndarray:
    """The picture with the mask over it."""
    return labels.over(picture, prediction.arrays["mask"])


def describe(record: dict[str, Any], labels: Labels = BUILDING) -> str:
    """'building 12.3 % of the picture, 41 footprints'."""
    text, count = labels.describe(record), record.get("footprints")
    return text if count is None else f"{text}, {count} footprint{'s' * (count != 1)}"


def _footprints(
    options: ConfigDict,
    labels: Labels,
    prediction: Prediction,
    georeference: Georeference | None = None,
) -> dict[str, Any]:
    """The FeatureCollection of a mask: degrees where there is a georeference, else pixels."""
    return footprints(
        prediction.arrays["mask"],
        prediction.arrays["probability"],
        tolerance=options.tolerance,
        min_area=options.min_area,
        georeference=georeference,
        labels=labels,
    )
