"""From predictions to the bytes of an answer."""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
import orjson
from PIL import Image

from jaxvision.serve.refused import Refused
from jaxvision.task import Prediction, Predictor

JSON, PNG, GEOJSON = "application/json", "image/png", "application/geo+json"


class Answer(NamedTuple):
    """A body and its type."""

    body: bytes
    type: str = JSON
    status: int = 200


def to_json(value: Any) -> bytes:
    """JSON; numpy's numbers and arrays too, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def published(prediction: Prediction) -> bytes:
    """{"prediction": [H][W] of 0 and 1, or of classes' numbers} where there is a mask, else
    {"prediction": the record}.
    """
    if "mask" in prediction.arrays:
        return b'{"prediction":' + mask_json(prediction.arrays["mask"]) + b"}"
    return to_json({"prediction": prediction.record})


def mask_json(mask: np.ndarray) -> bytes:
    """bool or uint8 [H, W] as JSON, [[0,1,...],...]; written as bytes, not number by number."""
    if mask.dtype != bool and mask.max() > 9:
        return to_json(np.ascontiguousarray(mask))
    height, width = mask.shape
    text = np.full((height, 2 * width + 2), ord(","), np.uint8)
    text[:, 0] = ord("[")
    text[:, 1:-1:2] = mask.astype(np.uint8) + ord("0")
    text[:, -2] = ord("]")
    return b"[" + text.tobytes()[:-1] + b"]"


def png(array: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A picture of an array: bool or float in [0, 1] as gray, uint8 as it is.

    Args:
      array: [H, W], [H, W, 1 or 3], or [T, H, W, 1 or 3], which is stacked from top to bottom.
      palette: colours of the values of uint8 [H, W]: uint8 [K, 3].
    """
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    if array.ndim == 4:
        array = array.reshape(-1, *array.shape[2:])  # [T, H, W, C] -> [T * H, W, C]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    memory = io.BytesIO()
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette.tobytes())
    image.save(memory, "PNG", compress_level=1)
    return memory.getvalue()


def array_png(predictor: Predictor, name: str, array: np.ndarray) -> bytes:
    """A picture of an array of a prediction."""
    return png(array, predictor.palettes.get(name))


def kinds(predictor: Predictor) -> list[str]:
    """What `as` may ask for: json, picture, and where there are outlines geojson."""
    return ["json", "picture", *(["geojson"] if predictor.geojson else [])]


def record_of(
    predictor: Predictor, prediction: Prediction, arrays: bool, georeference: Any = None
) -> dict[str, Any]:
    """The record; with its outlines under 'geojson', and where asked its arrays as PNGs."""
    record = dict(prediction.record)
    if predictor.geojson:
        record["geojson"] = predictor.geojson(prediction, georeference)
    if arrays:
        pngs = {n: array_png(predictor, n, array) for n, array in prediction.arrays.items()}
        record["arrays"] = {
            name: "data:image/png;base64," + base64.b64encode(data).decode()
            for name, data in pngs.items()
        }
    return record


def one(
    predictor: Predictor,
    picture: np.ndarray,
    prediction: Prediction,
    kind: str,
    arrays: bool,
    georeference: Any = None,
) -> Answer:
    """The answer for one picture.

    Args:
      georeference: of the picture's file; its outlines are then in degrees.
      kind: of `kinds`, or the name of one of the prediction's arrays, which gives its PNG.
      arrays: whether JSON has the arrays as PNGs in it.

    Raises:
      Refused: there is no such kind of answer (400).
    """
    if kind == "json":
        return Answer(to_json(record_of(predictor, prediction, arrays, georeference)))
    if kind == "picture":
        return Answer(png(predictor.render(picture, prediction)), PNG)
    if kind == "geojson" and predictor.geojson:
        return Answer(to_json(predictor.geojson(prediction, georeference)), GEOJSON)
    if kind in prediction.arrays:
        return Answer(array_png(predictor, kind, prediction.arrays[kind]), PNG)
    known = ", ".join([*kinds(predictor), *prediction.arrays])
    raise Refused(400, f"as={kind[:40]!r} is no answer of this model: use one of {known}")
