"""What `--mode=predict` does with a picture or a film: its faces, or all of it, classified."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

from jaxvision.errors import UserError
from jaxvision.input_pipeline.images import decode_image
from jaxvision.input_pipeline.labelled import to_square
from jaxvision.input_pipeline.video import EXTENSIONS as VIDEOS
from jaxvision.input_pipeline.video import read_video
from jaxvision.tasks.classification.faces import Box, make_detector
from jaxvision.visualize.film import write_film

FACES = ("auto", "always", "never")
# A square picture of at most this many pixels is a face already, as in every data set of faces.
CROP_PIXELS = 256
FRAME_COLOUR = (255, 190, 0)


def classify_file(
    config: ConfigDict,
    decode: Callable[..., dict[str, Any]],
    predict: Callable[[np.ndarray], Any],
    path: Path,
    output: Path,
    fitted: dict[str, float],
) -> dict[str, Any]:
    """Classifies the faces of one of the user's files, or with predict.faces=never the whole.

    Where predict.pictures is set, writes <stem>_faces.jpg, the picture with its faces marked, or of
    a film <stem>_faces.mp4, the frames that were looked at.

    Args:
      config: the run's config.
      decode: (outputs, image, fitted) -> {'label', 'probabilities'}.
      predict: images uint8 [predict.batch_size, S, S, C] -> outputs.
      path: an image or a film.
      output: folder for the pictures.
      fitted: of the validation split.

    Returns:
      a JSON-able record: file; 'width' and 'height' (pixels) and 'faces', from left to right, each
      with box (left, top, width, height, pixels), score (of the detector, or None), label and
      probabilities; of a film also fps, how many frames, and each face's frame (counted from 0) and
      time (seconds); with predict.faces=never, label and probabilities of an image in place of
      'faces'.

    Raises:
      UserError: a file that cannot be read, a detector that is not there.
    """
    options = config.predict
    if options.faces not in FACES:
        raise UserError(f"predict.faces={options.faces!r} is unknown: use {', '.join(FACES)}")
    classify = functools.partial(_classify, config, decode, predict, fitted)
    if path.suffix.lower() in VIDEOS:
        return _film(options, classify, path, output)
    pixels = decode_image(path)
    faces = classify(pixels, _boxes(options, pixels))
    record = {"file": str(path), "width": pixels.shape[1], "height": pixels.shape[0]}
    if options.pictures:
        marked = Image.fromarray(mark_faces(pixels, faces))
        marked.save(_written(output, f"{path.stem}_faces.jpg", record), quality=90)
    if options.faces == "never":
        return {**record, "label": faces[0]["label"], "probabilities": faces[0]["probabilities"]}
    return {**record, "faces": faces}


def collect(records: Sequence[dict[str, Any]], output: Path) -> None:
    """Writes faces.jsonl in `output`: one line a face, of all files."""
    with open(output / "faces.jsonl", "w") as lines:
        for record in records:
            for face in record.get("faces", ()):
                lines.write(json.dumps({"file": record["file"], **face}) + "\n")


def _written(output: Path, name: str, record: dict[str, Any]) -> Path:
    record["picture"] = str(output / name)
    return output / name


def _film(options: ConfigDict, classify: Callable, path: Path, output: Path) -> dict[str, Any]:
    """One film: a frame every predict.every_seconds is looked at."""
    fps, frames = read_video(path)
    every = max(1, round(options.every_seconds * fps))
    found, record = [], {"file": str(path), "fps": fps}

    def looked_at() -> Iterator[np.ndarray]:
        for number, pixels in enumerate(frames):
            record.update(width=pixels.shape[1], height=pixels.shape[0], frames=number + 1)
            if number % every:
                continue
            faces = classify(pixels, _boxes(options, pixels))
            place = {"frame": number, "time": round(number / fps, 3)}
            found.extend({**place, **face} for face in faces)
            yield mark_faces(pixels, faces)

    if options.pictures:
        write_film(_written(output, f"{path.stem}_faces.mp4", record), looked_at(), fps / every)
    else:
        for _ in looked_at():
            pass
    return {**record, "faces": found}


def _boxes(options: ConfigDict, pixels: np.ndarray) -> list[Box]:
    height, width = pixels.shape[:2]
    whole = [Box(0, 0, width, height, None)]
    small = max(height, width) <= CROP_PIXELS and min(height, width) >= 0.9 * max(height, width)
    if options.faces == "never" or (options.faces == "auto" and small):
        return whole
    return _detector(options.detector)(pixels)


@functools.lru_cache(maxsize=1)
def _detector(model: str) -> Callable[[np.ndarray], list[Box]]:
    return make_detector(model)


def _classify(config, decode, predict, fitted, pixels, boxes) -> list[dict[str, Any]]:
    """A JSON-able record of each box of a picture."""
    options, side, channels = config.predict, config.data.image_size, config.data.channels
    crops = [to_square(cut_face(pixels, box, options.margin), side, channels) for box in boxes]
    records = []
    for start in range(0, len(crops), options.batch_size):
        images = np.stack(crops[start : start + options.batch_size])
        padding = [(0, options.batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
        outputs = np.asarray(predict(np.pad(images, padding)))  # one shape: compiled once
        for box, image, row in zip(boxes[start:], images, outputs, strict=False):
            records.append({"box": list(box[:4]), "score": box.score, **decode(row, image, fitted)})
    return records


def cut_face(pixels: np.ndarray, box: Box, margin: float) -> np.ndarray:
    """The square about a face, widened by `margin` of it on each side, inside the picture.

    A box that is the whole picture is left as it is.
    """
    height, width = pixels.shape[:2]
    if box.width == width and box.height == height:
        return pixels
    half = max(box.width, box.height) * (0.5 + margin)
    half = min(half, width / 2, height / 2)
    x = min(max(box.x + box.width / 2, half), width - half)
    y = min(max(box.y + box.height / 2, half), height - half)
    left, top, side = round(x - half), round(y - half), max(1, round(2 * half))
    return pixels[max(top, 0) : top + side, max(left, 0) : left + side]


def mark_faces(pixels: np.ndarray, faces: Sequence[dict[str, Any]]) -> np.ndarray:
    """The picture with a frame around each face, and its label and probability above it.

    Args:
      pixels: uint8 [H, W, 3].
      faces: with 'box', 'label' and 'probabilities'.

    Returns:
      uint8 [H', W', 3]; pictures under 256 pixels are enlarged, so that the label can be read.
    """
    picture = Image.fromarray(pixels)
    scale = max(1, 256 // max(picture.size))
    picture = picture.resize((picture.width * scale, picture.height * scale))
    draw = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 400))
    font = ImageFont.load_default(size=max(12, round(max(picture.size) / 50)))
    for face in faces:
        x, y, w, h = (scale * value for value in face["box"])
        draw.rectangle((x, y, x + w - 1, y + h - 1), outline=FRAME_COLOUR, width=width)
        text = f"{face['label']} {face['probabilities'][face['label']]:.0%}"
        _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        top = y - bottom - 4 if y > bottom + 4 else y + width
        draw.rectangle((x, top, x + right + 4, top + bottom + 4), fill=FRAME_COLOUR)
        draw.text((x + 2, top + 1), text, fill=(0, 0, 0), font=font)
    return np.asarray(picture)
