"""A row a picture, for predictions of many: how much is built, the mask, and footprints."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from jaxvision.input_pipeline.windows import read_georeference
from jaxvision.task import Prediction

# mask: a PNG of one bit a pixel. footprints (how many) and geojson (a FeatureCollection as text):
# with predict.polygons alone.
COLUMNS = {
    "width": int,
    "height": int,
    "building_share": float,
    "threshold": float,
    "mask": bytes,
    "footprints": int,
    "geojson": str,
}


def row(outline: Callable | None, prediction: Prediction, path: Path | None) -> dict[str, Any]:
    """The values of COLUMNS.

    Args:
      outline: (prediction, georeference) -> FeatureCollection; None: footprints are not asked for.
      prediction: with its mask.
      path: of a picture that has a file of its own, which may say where on Earth it is.
    """
    png = io.BytesIO()
    Image.fromarray(prediction.arrays["mask"]).save(png, "PNG")
    values = {**prediction.record, "mask": png.getvalue()}
    if outline:
        collection = outline(prediction, read_georeference(path) if path else None)
        values["footprints"] = len(collection["features"])
        values["geojson"] = json.dumps(collection)
    return values
