"""From a picture to the expressions of its faces, or to the class of the whole."""

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images, video
from jaxvision.input_pipeline.labelled import to_square
from jaxvision.task import Prediction, Predictor, Prepared
from jaxvision.tasks.classification import smoothing, table, write
from jaxvision.tasks.classification.faces import Box, make_detector
from jaxvision.tasks.classification.metrics import probabilities

# A square picture of at most this many pixels is a face already, as in every data set of faces.
CROP_PIXELS = 256
FRAME_COLOUR = (255, 190, 0)
DESCRIBED = 4  # faces in a line of the console


class Regions(NamedTuple):
    """What of a picture was classified.

    Attributes:
      height, width: of the picture, pixels.
      boxes: one an input.
    """

    height: int
    width: int
    boxes: Sequence[Box]


def make_predictor(config: ConfigDict, info: dict[str, Any]) -> Predictor:
    """Labels and calibrated probabilities of each face, or with predict.faces=never of the whole.

    Records hold 'width' and 'height' (pixels) and 'faces', from left to right, each with box (left,
    top, width, height, pixels), score (of the detector, or None), label and probabilities; with
    predict.faces=never label and probabilities of the whole in place of 'faces'.

    Raises:
      UserError: predict.faces or predict.every_seconds cannot be, predict.detector does not exist.
    """
    options = config.predict
    if options.detector and not Path(options.detector).is_file():
        raise UserError(
            f"predict.detector={options.detector!r} does not exist: give YuNet's .onnx file, or ''"
        )
    prepare = functools.partial(_prepare, config, _detector_a_thread(options.detector))
    decode = functools.partial(_decode, info["classes"], options.faces == "never")
    return Predictor(
        prepare=prepare,
        decode=decode,
        render=lambda picture, prediction: mark_faces(picture, regions_of(prediction.record)),
        describe=describe,
        write=functools.partial(write.write, options, mark_faces, regions_of),
        extensions=(*images.EXTENSIONS, *video.EXTENSIONS),
        collect=write.collect,
        streams=lambda path: path.suffix.lower() in video.EXTENSIONS,
        stream=functools.partial(write.stream, options, prepare, decode, mark_faces, regions_of),
        meaning=_meaning(config),
        smoothers={"mean": smoothing.mean},
        columns=table.columns(info["classes"], options.faces == "never"),
        row=table.row,
    )


def _meaning(config: ConfigDict) -> dict[str, str]:
    side, colour = config.data.image_size, "gray" if config.data.channels == 1 else "RGB"
    cut = "the middle square of a picture"
    if config.predict.faces != "never":
        margin = config.predict.margin
        cut = f"a square about a face, wider by {margin:.0%} of it on each side"
    return {
        "images": f"{cut}, resized to {side} x {side}, {colour}, 0 to 255",
        "logits": "one a class; probabilities are softmax(logits / fitted.temperature)",
    }


def _detector_a_thread(path: str) -> Callable[[np.ndarray], list[Box]]:
    """A detector; OpenCV's keep what they are working on, so each thread has one of its own."""
    kept = threading.local()

    def detect(picture: np.ndarray) -> list[Box]:
        if not hasattr(kept, "detect"):
            kept.detect = make_detector(path)
        return kept.detect(picture)

    return detect


def _prepare(config: ConfigDict, detect: Callable, picture: np.ndarray) -> Prepared:
    height, width = picture.shape[:2]
    side, channels = config.data.image_size, config.data.channels
    boxes = _boxes(config.predict.faces, detect, picture)
    crops = [to_square(cut_face(picture, b, config.predict.margin), side, channels) for b in boxes]
    inputs = np.stack(crops) if crops else np.zeros((0, side, side, channels), np.uint8)
    return Prepared(inputs, Regions(height, width, boxes))


def _boxes(faces: str, detect: Callable, picture: np.ndarray) -> list[Box]:
    height, width = picture.shape[:2]
    small = max(height, width) <= CROP_PIXELS and min(height, width) >= 0.9 * max(height, width)
    if faces == "never" or (faces == "auto" and small):
        return [Box(0, 0, width, height, None)]
    return detect(picture)


def _decode(
    classes: Sequence[str],
    whole: bool,
    outputs: dict[str, np.ndarray],
    context: Regions,
    fitted: dict[str, float],
) -> Prediction:
    """Labels and probabilities at the temperature that validation chose."""
    record = {"width": context.width, "height": context.height}
    faces = []
    if context.boxes:
        p = probabilities(outputs["logits"], fitted.get("temperature", 1.0))  # [N, K]
        for box, row in zip(context.boxes, p, strict=True):
            named = {name: round(float(v), 6) for name, v in zip(classes, row, strict=True)}
            label = {"label": classes[int(row.argmax())], "probabilities": named}
            faces.append({"box": list(box[:4]), "score": box.score, **label})
    if whole:
        answer = {name: faces[0][name] for name in ("label", "probabilities")}
        return Prediction({**record, **answer}, {})
    return Prediction({**record, "faces": faces}, {})


def regions_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The faces of a record; the whole picture where it was classified as a whole."""
    if "faces" in record:
        return record["faces"]
    return [{"box": [0, 0, record["width"], record["height"]], **record}]


def describe(record: dict[str, Any]) -> str:
    """'2 faces: happy 92 %, sad 55 %'."""
    if record.get("frames"):
        return f"{len(record['faces'])} faces in {record['frames']} frames"
    regions = regions_of(record)
    named = [f"{r['label']} {r['probabilities'][r['label']]:.0%}" for r in regions[:DESCRIBED]]
    if "faces" not in record:
        return named[0]
    count = f"{len(regions)} face{'' if len(regions) == 1 else 's'}" if regions else "no face"
    more = ", ..." if len(regions) > DESCRIBED else ""
    return f"{count}: {', '.join(named)}{more}" if regions else count


def cut_face(picture: np.ndarray, box: Box, margin: float) -> np.ndarray:
    """The square about a face, widened by `margin` of it on each side, inside the picture.

    A box that is the whole picture is left as it is.
    """
    height, width = picture.shape[:2]
    if box.width == width and box.height == height:
        return picture
    half = max(box.width, box.height) * (0.5 + margin)
    half = min(half, width / 2, height / 2)
    x = min(max(box.x + box.width / 2, half), width - half)
    y = min(max(box.y + box.height / 2, half), height - half)
    left, top, side = round(x - half), round(y - half), max(1, round(2 * half))
    return picture[max(top, 0) : top + side, max(left, 0) : left + side]


def mark_faces(picture: np.ndarray, faces: Sequence[dict[str, Any]]) -> np.ndarray:
    """The picture with a frame around each face, and its label and probability above it.

    Args:
      picture: uint8 [H, W, 3].
      faces: with 'box', 'label' and 'probabilities'.

    Returns:
      uint8 [H', W', 3]; pictures under 256 pixels are enlarged, so that the label can be read.
    """
    image = Image.fromarray(picture)
    scale = max(1, 256 // max(image.size))
    image = image.resize((image.width * scale, image.height * scale))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    font = _font(max(12, round(max(image.size) / 50)))
    for face in faces:
        x, y, w, h = (scale * value for value in face["box"])
        draw.rectangle((x, y, x + w - 1, y + h - 1), outline=FRAME_COLOUR, width=line)
        text = f"{face['label']} {face['probabilities'][face['label']]:.0%}"
        _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        top = y - bottom - 4 if y > bottom + 4 else y + line
        draw.rectangle((x, top, x + right + 4, top + bottom + 4), fill=FRAME_COLOUR)
        draw.text((x + 2, top + 1), text, fill=(0, 0, 0), font=font)
    return np.asarray(image)


@functools.lru_cache(maxsize=8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)
