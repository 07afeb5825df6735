"""From a photo of any size to its scores, each with its uncertainty; needs numpy alone."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline import score_scale
from jaxvision.input_pipeline.images import EXTENSIONS, middle_square
from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.task import Prediction, Predictor, Prepared
from jaxvision.tasks.perception import write
from jaxvision.tasks.perception.calibration import calibrate
from jaxvision.tasks.perception.figures import score_card

DESCRIBED = 3  # scores that a line on the console shows


def make(options: ConfigDict, info: dict[str, Any]) -> Predictor:
    """The predictor of `config.predict`, for the attributes and the scale that `info` holds.

    Raises:
      UserError: options that cannot work.
    """
    check(options)
    scale = score_scale.from_info(info)
    return Predictor(
        prepare=functools.partial(prepare, info["image_size"]),
        decode=functools.partial(decode, scale),
        render=render,
        describe=describe,
        write=functools.partial(write.write, options, render),
        extensions=EXTENSIONS,
        least_side=info["image_size"],  # as of the photos in training
        collect=functools.partial(write.collect, scale, options),
        meaning=_meaning(info["image_size"], scale.attributes),
        columns={name: float for name in _row(dict.fromkeys(scale.attributes), {})},
        row=lambda prediction, path: _row(*map(prediction.record.get, ("scores", "uncertainty"))),
    )


def _meaning(side: int, attributes: Sequence[str]) -> dict[str, str]:
    return {
        "images": f"the middle square of a photo, resized to {side} x {side} (bicubic), RGB, "
        "0 to 255",
        "score": f"of {', '.join(attributes)}, before calibration by `fitted`",
        "spread": "its uncertainty, before calibration",
    }


def check(options: ConfigDict) -> None:
    """Raises UserError where options of `config.predict` cannot work."""
    missing = [part for part in ("{z}", "{x}", "{y}") if part not in options.map_tiles]
    if options.map_tiles and missing:
        raise UserError(
            f"predict.map_tiles={options.map_tiles!r} lacks {', '.join(missing)}: give an address "
            "as https://.../{z}/{x}/{y}.png, or '' for none"
        )


def prepare(size: int, photo: np.ndarray) -> Prepared:
    """The middle square of a photo, `size` pixels a side: uint8 [1, size, size, 3]."""
    return Prepared(middle_square(photo, size)[None], None)


def decode(
    scale: Scale, outputs: dict[str, np.ndarray], context: None, fitted: dict[str, float]
) -> Prediction:
    """{'scores': {attribute: value}, 'uncertainty': {attribute: deviation}}."""
    del context  # a score has no place
    score, spread = calibrate(scale, outputs["score"][0], outputs["spread"][0], fitted)
    scores, uncertainty = (
        {name: float(value) for name, value in zip(scale.attributes, values, strict=True)}
        for values in (score, spread)
    )
    return Prediction({"scores": scores, "uncertainty": uncertainty}, {})


def _row(scores: dict[str, float], uncertainty: dict[str, float]) -> dict[str, float]:
    """{'safe': 6.2, 'safe_uncertainty': 1.1, ...}."""
    return {
        column: value
        for name, score in scores.items()
        for column, value in ((name, score), (f"{name}_uncertainty", uncertainty.get(name)))
    }


def render(photo: np.ndarray, prediction: Prediction) -> np.ndarray:
    """The photo beside the bars of its scores."""
    scores, uncertainty = (prediction.record[name] for name in ("scores", "uncertainty"))
    score, spread = (np.array(list(values.values())) for values in (scores, uncertainty))
    return score_card(photo, list(scores), score, spread)


def describe(record: dict[str, Any]) -> str:
    """'safe 6.2 ± 1.1, lively 4.0 ± 0.9, boring 3.1 ± 1.0 and 3 more'."""
    scores, uncertainty = record["scores"], record["uncertainty"]
    parts = [f"{name} {value:.1f} ± {uncertainty[name]:.1f}" for name, value in scores.items()]
    more = len(parts) - DESCRIBED
    return ", ".join(parts[:DESCRIBED]) + (f" and {more} more" if more > 0 else "")
