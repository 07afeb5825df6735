"""What is made of a split's scores: calibration, metrics, figures, and the most telling photos."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.input_pipeline import score_scale
from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.task import Measured, Report
from jaxvision.tasks.perception import figures as pictures
from jaxvision.tasks.perception import metrics as metrics_perception
from jaxvision.tasks.perception import places
from jaxvision.tasks.perception.attributes import match_attributes
from jaxvision.tasks.perception.calibration import calibrate, fit
from jaxvision.tasks.perception.criterion import errors_of_outputs, targets

COPIED = ("number", "place", "ballots")  # of a batch, for metrics and figures of a whole split


def make(config: ConfigDict, info: dict[str, Any]) -> Report:
    """The report of a config, without `draw`, for the attributes and the scale in `info`."""
    scale = score_scale.from_info(info)
    names = (config.checkpoint.best_metric, "pearson", "loss", "within_one_decile", "mae")
    return Report(
        measure=functools.partial(measure, config.loss, scale),
        fit=functools.partial(fit, scale, not config.loss.scores),
        metrics=functools.partial(summarize, config.loss, scale),
        headline=tuple(dict.fromkeys(names)),
        figures=functools.partial(draw_figures, scale, info["shares"]),
        highlights=functools.partial(highlights, scale, config.eval.figure_rows),
        adapt=functools.partial(match_attributes, attributes=scale.attributes),
    )


def measure(options: Any, scale: Scale, outputs: dict[str, Any], batch: dict[str, Any]) -> Measured:
    """Everything as rows: correlations are of a whole split.

    Args:
      options: `config.loss`.
      scale: of the scores.
      outputs: of `Model.predict`.
      batch: 'score', float32 [B, A], and what COPIED names where there is any.
    """
    target, known = targets(scale, batch["score"])
    errors = errors_of_outputs(options, scale, outputs, target)
    copied = {name: batch[name] for name in COPIED if name in batch}
    target = jnp.where(known, target, jnp.nan)
    return Measured({}, {"target": target, **outputs, "error": errors * known, **copied})


def summarize(
    options: Any, scale: Scale, measured: Measured, fitted: dict[str, float]
) -> dict[str, float]:
    """The metrics of `metrics_perception`, those of votes among them where there are votes.

    'loss' weights the mean over scores and the mean over votes as the training loss does; of what
    the network says, before it is calibrated. Where the split has no votes, theirs is 0.
    """
    rows = measured.rows
    score, spread = calibrate(scale, rows["score"], rows["spread"], fitted)
    values = metrics_perception.summarize(scale, rows["target"], score, spread)
    loss = options.scores * _mean_error(rows)
    if "ballots" in rows:
        votes = metrics_perception.vote_accuracy(
            rows["ballots"], rows["number"], score, scale.attributes
        )
        values = {"pairwise_accuracy": votes["pairwise_accuracy"], **values, **votes}
        if options.votes:
            loss += options.votes * metrics_perception.vote_loss(
                rows["ballots"], rows["number"], rows["strength"], rows["log_tie"]
            )
    return {**values, "loss": float(loss)}


def _mean_error(rows):
    known = np.isfinite(rows["target"]).sum()
    return float(rows["error"].sum(dtype=np.float64)) / max(known, 1)


def draw_figures(
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
    extremes = {}
    for a, attribute in enumerate(scale.attributes):
        order = np.argsort(-measured.rows["score"][:, a])
        half = max(count // 2, 1)
        lowest = order[half:][-half:]  # of those that are not among the highest
        extremes[f"extremes_{attribute}"] = np.concatenate([order[:half], lowest])
    return extremes
