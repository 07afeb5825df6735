"""What predict mode writes for a picture or a film: its faces marked, and a table of all faces."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxvision.input_pipeline.parallel import cpu_threads, in_background, in_threads
from jaxvision.input_pipeline.video import read_video, until_cut
from jaxvision.task import Prediction
from jaxvision.visualize.film import write_film

AHEAD = 2  # frames that are decoded, or looked for faces in by a thread, before they are needed


def write(
    options: ConfigDict,
    mark: Callable,
    regions: Callable,
    picture: np.ndarray,
    prediction: Prediction,
    path: Path,
    output: Path,
) -> dict[str, str]:
    """Where predict.pictures is set, writes <stem>_faces.jpg, the picture with its faces marked.

    Args:
      options: config.predict.
      mark, regions: `predictor.mark_faces` and `regions_of`.
      picture, prediction, path, output: as of `Predictor.write`.
    """
    if not options.pictures:
        return {}
    target = output / f"{path.stem}_faces.jpg"
    Image.fromarray(mark(picture, regions(prediction.record))).save(target, quality=90)
    return {"picture": str(target)}


def collect(records: Sequence[dict[str, Any]], output: Path) -> None:
    """Writes faces.jsonl in `output`: one line a face, of all files."""
    with open(output / "faces.jsonl", "w") as lines:
        for record in records:
            for face in record.get("faces", ()):
                lines.write(json.dumps({"file": record["file"], **face}) + "\n")


def stream(
    options: ConfigDict,
    prepare: Callable,
    decode: Callable,
    mark: Callable,
    regions: Callable,
    apply: Callable,
    path: Path,
    output: Path,
    fitted: dict[str, float],
) -> dict[str, Any]:
    """One film: a frame every predict.every_seconds is looked at, each decoded once.

    Returns:
      file, fps, width, height, frames (how many), and 'faces' as of a picture with frame (counted
      from 0) and time (seconds); picture, where predict.pictures is set: <stem>_faces.mp4, the
      frames that were looked at; incomplete, what is wrong with a film that ends before its time.
    """
    fps, frames = read_video(path)
    every = max(1, round(options.every_seconds * fps))
    record, faces, problems = {"file": str(path), "fps": fps}, [], []

    def chosen() -> Iterator[tuple[int, np.ndarray]]:
        for number, pixels in enumerate(until_cut(frames, problems)):
            record.update(width=pixels.shape[1], height=pixels.shape[0], frames=number + 1)
            if number % every == 0:
                yield number, pixels

    def prepared(frame: tuple[int, np.ndarray]) -> tuple[Any, np.ndarray]:
        inputs, context = prepare(frame[1])
        return (*frame, context), inputs

    def marked() -> Iterator[np.ndarray]:
        decoded = in_background(chosen(), AHEAD)  # and faces are looked for in several threads
        for (number, pixels, context), outputs in apply(
            in_threads(prepared, decoded, cpu_threads(), AHEAD)
        ):
            frame_faces = regions(decode(outputs, context, fitted).record)
            place = {"frame": number, "time": round(number / fps, 3)}
            faces.extend({**place, **face} for face in frame_faces)
            yield mark(pixels, frame_faces) if options.pictures else pixels

    if options.pictures:
        record["picture"] = str(output / f"{path.stem}_faces.mp4")
        write_film(record["picture"], marked(), fps / every)
    else:
        for _ in marked():
            pass
    cut = {"incomplete": problems[0]} if problems else {}
    return {**record, **cut, "faces": faces}
