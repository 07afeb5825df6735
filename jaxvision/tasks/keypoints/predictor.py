"""From a picture in memory to the points of the animal in its own pixels; numpy alone."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images, video
from jaxvision.task import Prediction, Predictor, Prepared
from jaxvision.tasks.keypoints import figures, films, follow, poses, smoothing, tracks, write
from jaxvision.tasks.keypoints.poses import Setup


def make_predictor(config, info: dict[str, Any]) -> Predictor:
    """The predictor of a config and the data set's `info`.

    Raises:
      UserError: options of `predict` or `heading` that cannot be meant.
    """
    setup = poses.make_setup(config, info)
    return Predictor(
        prepare=functools.partial(_prepare, setup),
        decode=functools.partial(_decode, setup),
        render=functools.partial(_render, setup),
        describe=functools.partial(_describe, setup),
        write=functools.partial(write.write_picture, functools.partial(_render, setup)),
        collect=functools.partial(write.collect, setup),
        streams=films.is_film,
        stream=functools.partial(write.write_film_files, setup),
        extensions=(*images.EXTENSIONS, ".npz", *video.EXTENSIONS),
        meaning={
            "images": "a picture that the animal fills about as in training "
            f"({' x '.join(map(str, info['image']))}), 0 to 255",
            "points": f"(x, y) of {', '.join(setup.keypoints)} in pixels of the input; (0, 0) is "
            "the centre of the top left pixel",
            "spread": "of each point, pixels: half of the errors are below spread * "
            "fitted.error_per_spread",
        },
        smoothers={"one_euro": functools.partial(_one_euro, setup)},
        columns=dict.fromkeys(_columns(setup), float),
        row=functools.partial(_row, setup),
    )


def _prepare(setup: Setup, picture: np.ndarray) -> Prepared:
    image, view = follow.prepare(picture, setup)
    return Prepared(image[None], view)


def _decode(setup: Setup, outputs, view, fitted: dict[str, float]) -> Prediction:
    """Of one picture: `points` as {name: [x, y, confidence]}, and angles by name and in a list."""
    return _answer(setup, *poses.locate(outputs, view, setup, fitted))


def _answer(setup: Setup, points: np.ndarray, confidence: np.ndarray) -> Prediction:
    """Of points [K, 2] and their confidence [K]; angles are reckoned from the points."""
    tracks = poses.make_tracks(setup, points[None], confidence[None])
    degrees, certain = tracks.degrees[0].tolist(), tracks.degrees_confidence[0].tolist()
    rows = np.concatenate([points, confidence[:, None]], 1)  # [K, 3]
    record = {
        "points": {name: row.tolist() for name, row in zip(setup.keypoints, rows, strict=True)},
        **{f"{name}_degrees": d for name, d in zip(tracks.angles, degrees, strict=True)},
        **{f"{name}_confidence": c for name, c in zip(tracks.angles, certain, strict=True)},
        "degrees": degrees,
        "degrees_confidence": certain,
    }
    return Prediction(record, {})


def _columns(setup: Setup) -> list[str]:
    return tracks.columns(setup.keypoints, [angle.name for angle in setup.angles])


def _row(setup: Setup, prediction: Prediction, path: Any) -> dict[str, float]:
    """One line of the csv in its plain layout."""
    del path
    record = prediction.record
    values = [value for name in setup.keypoints for value in record["points"][name]]
    for pair in zip(record["degrees"], record["degrees_confidence"], strict=True):
        values.extend(pair)
    return dict(zip(_columns(setup), values, strict=True))


def _one_euro(setup: Setup, strength: float) -> Callable[[Prediction, float], Prediction]:
    """Smooths the points of frame after frame, as predict.smoothing='one_euro' does in a film."""
    if not 0 < strength < math.inf:
        raise UserError(f"strength={strength}: give a number above 0, such as 1")
    state = None

    def smooth(prediction: Prediction, seconds: float) -> Prediction:
        nonlocal state
        rows = np.array([prediction.record["points"][name] for name in setup.keypoints])  # [K, 3]
        state, points = smoothing.one_euro_step(state, rows[:, :2], 1 / seconds, strength)
        return _answer(setup, points, rows[:, 2])

    return smooth


def _render(setup: Setup, picture: np.ndarray, prediction: Prediction) -> np.ndarray:
    rows = np.array([prediction.record["points"][name] for name in setup.keypoints])  # [K, 3]
    return figures.draw_frame(picture, rows[:, :2], prediction.record["degrees"], rows[:, 2])


def _describe(setup: Setup, record: dict[str, Any]) -> str:
    if "frames" in record:
        return f"{record['frames']} frames, median confidence {record['median_confidence']:.2f}"
    words = [f"{a.name} {record[f'{a.name}_degrees']:.0f} degrees" for a in setup.angles]
    weakest = min(row[2] for row in record["points"].values())
    return ", ".join([*words, f"{len(record['points'])} points, confidence {weakest:.2f} or more"])
