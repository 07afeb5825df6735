"""A few photos with their scores, and where the network looked for each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.input_pipeline.score_scale import Scale, to_target
from jaxvision.tasks.perception.calibration import calibrate
from jaxvision.tasks.perception.figures import PANEL, score_bars
from jaxvision.visualize.grid import heat_overlay, image_grid


def draw(
    scale: Scale,
    predict: Callable,
    attend: Callable,
    variables: Any,
    batch: Any,
    key: Any,
    fitted: Any,
) -> dict[str, np.ndarray]:
    """Each photo beside its true and predicted scores, and where each attribute was looked for.

    Args:
      scale: of the scores.
      predict: (variables, images) -> {'score', 'spread'}.
      attend: (variables, images, attribute number) -> [B, c, c] in [0, 1].
      variables, batch, key, fitted: as of `Report.draw`.
    """
    images = batch["image"]
    outputs = predict(variables, images)
    score, spread = calibrate(
        scale, np.asarray(outputs["score"]), np.asarray(outputs["spread"]), fitted
    )
    heats = [np.asarray(attend(variables, images, a)) for a in range(len(scale.attributes))]
    target = to_target(scale, np.asarray(batch["score"]))
    rows = [
        score_row(image, scale.attributes, target[i], score[i], spread[i], heat)
        for i, (image, heat) in enumerate(zip(images, np.stack(heats, axis=1), strict=True))
    ]
    return {"predictions": score_grid(rows, scale.attributes)}


def score_row(
    image: np.ndarray,
    attributes: Sequence[str],
    target: np.ndarray,
    score: np.ndarray,
    spread: np.ndarray,
    heats: np.ndarray,
) -> list[np.ndarray]:
    """The panels of one photo: itself, its scores, and where each attribute was looked for.

    Args:
      image: uint8 [S, S, 3].
      attributes: names, A of them.
      target, score, spread: float [A] on [1, 10]; NaN where there is no target.
      heats: float [A, c, c] in [0, 1], of the middle of the image.
    """
    side, middle = len(image), heats.shape[1]
    edge = (side - middle) // 2
    seen = image[edge : edge + middle, edge : edge + middle]
    overlays = [_resized(heat_overlay(seen, heat)) for heat in heats]
    return [_resized(image), score_bars(attributes, target, score, spread), *overlays]


def score_grid(rows: Sequence[Sequence[np.ndarray]], attributes: Sequence[str]) -> np.ndarray:
    """Rows of `score_row` under their titles: uint8 [H, W, 3]."""
    return image_grid(rows, ["photo", "true (gray), predicted", *attributes])


def _resized(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((PANEL, PANEL), Image.Resampling.BICUBIC))
