"""A row a picture, for predictions of many: how much is what, the mask, and footprints."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from jaxvision.input_pipeline.windows import read_georeference
from jaxvision.task import Prediction
from jaxvision.tasks.segmentation.labels import Labels, as_image


def columns(labels: Labels) -> dict[str, Any]:
    """Names and types, as of `Predictor.columns`.

    mask: a PNG, of one bit a pixel or of a palette. footprints (how many) and geojson (a
    FeatureCollection as text): with predict.polygons alone.
    """
    last = {"mask": bytes, "footprints": int, "geojson": str}
    return {"width": int, "height": int, **labels.columns, **last}


def row(
    labels: Labels, outline: Callable | None, prediction: Prediction, path: Path | None
) -> dict[str, Any]:
    """The values of `columns`.

    Args:
      labels: what a pixel may be.
      outline: (prediction, georeference) -> FeatureCollection; None: footprints are not asked for.
      prediction: with its mask.
      path: of a picture that has a file of its own, which may say where on Earth it is.
    """
    record, mask, png = prediction.record, prediction.arrays["mask"], io.BytesIO()
    image = as_image(labels, mask) if labels.classes else Image.fromarray(mask)
    image.save(png, "PNG")
    size = {"width": record["width"], "height": record["height"]}
    values = {**size, **labels.row(record), "mask": png.getvalue()}
    if outline:
        collection = outline(prediction, read_georeference(path) if path else None)
        values["footprints"] = len(collection["features"])
        values["geojson"] = json.dumps(collection)
    return values
