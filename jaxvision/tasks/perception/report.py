"""What is said and drawn of predicted scores: calibration, metrics, figures."""

from typing import Any

import numpy as np

from jaxvision.input_pipeline.score_scale import Scale, to_target
from jaxvision.task import Measured
from jaxvision.tasks.perception import figures as pictures
from jaxvision.tasks.perception import metrics as metrics_perception
from jaxvision.tasks.perception import places


def fit(scale: Scale, votes_alone: bool, measured: Measured) -> dict[str, float]:
    """What validation adds to the network, three numbers an attribute.

    'slope_<attribute>' and 'offset_<attribute>' bring a value that was learned from votes alone,
    and has no scale of its own, to the scores' (least squares); else they are 1 and 0.
    'spread_<attribute>' makes the spreads right: the root mean square of error / spread.
    """
    target, score, spread = (measured.rows[name] for name in ("target", "score", "spread"))
    fitted = {}
    for a, attribute in enumerate(scale.attributes):
        known = np.isfinite(target[:, a])
        x, y, slope, offset = score[known, a], target[known, a], 1.0, 0.0
        if votes_alone and len(x) > 1 and x.std() > 0:
            slope = float(np.mean((x - x.mean()) * (y - y.mean())) / x.var())
            if slope <= 0:  # few photos, by bad luck: votes say which way is up
                slope = float(y.std() / x.std())
            offset = float(y.mean() - slope * x.mean())
        fitted[f"slope_{attribute}"], fitted[f"offset_{attribute}"] = slope, offset
        relative = (y - offset - slope * x) / spread[known, a]
        fitted[f"spread_{attribute}"] = float(np.sqrt(np.mean(relative**2))) if len(x) else 1.0
    return fitted


def calibrate(
    scale: Scale, score: np.ndarray, spread: np.ndarray, fitted: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and spreads [..., A] with what `fit` found; as they are where it found nothing."""
    found = [
        np.array([fitted.get(f"{name}_{attribute}", default) for attribute in scale.attributes])
        for name, default in (("slope", 1.0), ("offset", 0.0), ("spread", 1.0))
    ]
    return found[1] + found[0] * score, found[2] * spread


def summarize(scale: Scale, measured: Measured, fitted: dict[str, float]) -> dict[str, float]:
    """The metrics of `metrics_perception`, those of votes among them where there are votes."""
    rows = measured.rows
    score, spread = calibrate(scale, rows["score"], rows["spread"], fitted)
    found = metrics_perception.summarize(scale, rows["target"], score, spread)
    if "ballots" not in rows:
        return found
    votes = metrics_perception.vote_accuracy(
        rows["ballots"], rows["number"], score, scale.attributes
    )
    return {"pairwise_accuracy": votes["pairwise_accuracy"], **found, **votes}


def draw(
    scale: Scale, predict: Any, attend: Any, variables: Any, batch: Any, key: Any, fitted: Any
) -> dict[str, np.ndarray]:
    """Each photo beside its true and predicted scores, and where each attribute was looked for.

    Args:
      scale: of the scores.
      predict: (variables, images) -> {'score', 'spread'}.
      attend: (variables, images, attribute number) -> [B, c, c] in [0, 1].
      variables, batch, key, fitted: as of `Task.draw`.
    """
    images = batch["image"]
    outputs = predict(variables, images)
    score, spread = calibrate(
        scale, np.asarray(outputs["score"]), np.asarray(outputs["spread"]), fitted
    )
    heats = [np.asarray(attend(variables, images, a)) for a in range(len(scale.attributes))]
    target = to_target(scale, np.asarray(batch["score"]))
    rows = [
        pictures.score_row(image, scale.attributes, target[i], score[i], spread[i], heat)
        for i, (image, heat) in enumerate(zip(images, np.stack(heats, axis=1), strict=True))
    ]
    return {"predictions": pictures.score_grid(rows, scale.attributes)}


def plots(
    scale: Scale, shares: dict[str, list], measured: Measured, fitted: dict[str, float]
) -> dict[str, np.ndarray]:
    """Predicted against true, histograms of the splits and the predictions, and a map."""
    rows = measured.rows
    score, _ = calibrate(scale, rows["score"], rows["spread"], fitted)
    figures = {
        "predicted_and_true": pictures.scatter(scale, rows["target"], score),
        "histograms": pictures.histograms(scale.attributes, shares, score),
    }
    if np.isfinite(rows["place"]).all(axis=1).any():
        figures["map"] = places.draw_map(rows["place"], score, scale.attributes)
    return figures


def highlights(
    scale: Scale, count: int, measured: Measured, fitted: dict[str, float]
) -> dict[str, np.ndarray]:
    """The photos with the highest and the lowest predictions of each attribute, half of each."""
    del fitted  # it changes no order
    found = {}
    for a, attribute in enumerate(scale.attributes):
        order = np.argsort(-measured.rows["score"][:, a])
        half = max(count // 2, 1)
        lowest = order[half:][-half:]  # of those that are not among the highest
        found[f"extremes_{attribute}"] = np.concatenate([order[:half], lowest])
    return found
