"""From a picture to glimpses at it, and its label or reconstruction."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.readers.small_images.image_folder import fit
from jaxvision.models.retina import Retina
from jaxvision.task import Prediction, Predictor, Prepared
from jaxvision.tasks.attention import figures, write
from jaxvision.tasks.attention.psnr import psnr
from jaxvision.tasks.attention.shapes import input_shape, make_retina


class Square(NamedTuple):
    """The middle square of a picture, which the network sees reduced to its input.

    Attributes:
      left, top, side: in the picture, pixels.
      image: uint8 [H, W, C], as the network sees it.
    """

    left: float
    top: float
    side: int
    image: np.ndarray


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Glimpses, and the label with its probabilities, or the reconstruction.

    Records hold 'locations' [T][2], (x, y) in [-1, 1] of the picture's middle square; 'glimpses',
    one each with x and y, in pixels of the picture, and 'sides' of its squares; and 'label' with
    'probabilities', or 'psnr', dB before the first and after each glimpse. Arrays: 'image', as the
    network sees the picture, and of an autoencoder 'reconstructions', uint8 [T + 1, H, W, C].

    Raises:
      UserError: predict.film or predict.rollouts cannot be.
    """
    options = config.predict
    shape, retina = input_shape(config, info["shape"]), make_retina(config)
    return Predictor(
        prepare=functools.partial(_prepare, shape),
        decode=functools.partial(_decode, info["classes"], retina),
        render=_render,
        describe=describe,
        write=functools.partial(write.write, retina, options.film, describe),
        extensions=images.EXTENSIONS,
        meaning=_meaning(shape),
        columns=_columns(info["classes"], config.model.head),
        row=_row,
    )


def _meaning(shape: Sequence[int]) -> dict[str, str]:
    colour = "gray" if shape[2] == 1 else "RGB"
    return {
        "images": f"the middle square of a picture, resized to {shape[0]} x {shape[1]}, {colour}, "
        "0 to 255",
        "locations": "(x, y) of each glimpse; (-1, -1) is the top left corner, (1, 1) the bottom "
        "right",
        "probabilities": "of each class, the mean over several runs of the glimpses",
        "reconstructions": "before the first and after each glimpse, 0 to 1",
    }


def _prepare(shape: Sequence[int], picture: np.ndarray) -> Prepared:
    height, width = picture.shape[:2]
    side = min(height, width)
    image = fit(picture, shape[0], shape[2] == 1)
    square = Square((width - side) // 2, (height - side) // 2, side, image)
    return Prepared(image[None], square)


def _decode(
    classes: Sequence[str],
    retina: Retina,
    outputs: dict[str, np.ndarray],
    context: Square,
    fitted: dict[str, float],
) -> Prediction:
    locations, image = outputs["locations"][0], context.image
    scale = context.side / image.shape[0]  # pixels of the picture for one of the input
    points = (locations + 1) / 2 * context.side + (context.left, context.top)
    sides = [side * scale for side in retina.sides]
    record = {
        "locations": locations.round(4).tolist(),
        "glimpses": [
            {"x": float(x), "y": float(y), "sides": sides} for x, y in points.round(2).tolist()
        ],
    }
    if "probabilities" in outputs:
        p = outputs["probabilities"][0]
        named = dict(zip(classes, p.round(5).tolist(), strict=True))
        record |= {"label": classes[int(p.argmax())], "probabilities": named}
        return Prediction(record, {"image": image})
    drawn = np.clip(outputs["reconstructions"][0], 0, 1)  # [T + 1, H, W, C]
    errors = ((drawn - image / np.float32(255)) ** 2).mean((1, 2, 3))
    record["psnr"] = psnr(errors).round(3).tolist()
    reconstructions = (drawn * 255).round().astype(np.uint8)
    return Prediction(record, {"image": image, "reconstructions": reconstructions})


def _columns(classes: Sequence[str], head: str) -> dict[str, Any]:
    seen = {"glimpses": [{"x": float, "y": float, "sides": [float]}], "locations": [[float]]}
    if head == "decoder":
        return {"psnr": [float], **seen}
    named = {f"probability_{name}": float for name in classes}
    return {"label": str, "probability": float, **named, **seen}


def _row(prediction: Prediction, path: Any) -> dict[str, Any]:
    del path
    record = dict(prediction.record)
    named = record.pop("probabilities", {})
    if named:
        record["probability"] = named[record["label"]]
    return {**record, **{f"probability_{name}": value for name, value in named.items()}}


def describe(record: dict[str, Any]) -> str:
    """'7 99 %', or '18.4 dB after 6 glimpses'."""
    if "label" in record:
        return f"{record['label']} {record['probabilities'][record['label']]:.0%}"
    return f"{record['psnr'][-1]:.1f} dB after {len(record['locations'])} glimpses"


def _render(picture: np.ndarray, prediction: Prediction) -> np.ndarray:
    record = prediction.record
    drawn = figures.draw_glimpses(picture, record["glimpses"], describe(record))
    if "reconstructions" not in prediction.arrays:
        return drawn
    return figures.beside_reconstruction(drawn, prediction.arrays["reconstructions"][-1])
