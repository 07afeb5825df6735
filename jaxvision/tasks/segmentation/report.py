"""What is made of a split's masks: the threshold, metrics and figures."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.task import Measured, Report
from jaxvision.tasks.segmentation import metrics
from jaxvision.tasks.segmentation.criterion import IGNORE, criterion, labels_and_weights
from jaxvision.visualize import grid

STRIDE, LEAST_SIDE = 32, 64  # pixels: what an exported network takes are whole strides, two or more
# Width of the band that boundary IoU compares, pixels. The paper's 2 % of the diagonal would be a
# house at a metre a pixel.
BOUNDARY_RADIUS = 2


def make(config: ConfigDict) -> Report:
    """The report of a config, without `draw`.

    Raises:
      UserError: unknown loss.
    """
    names = (config.checkpoint.best_metric, "iou", "loss", "boundary_iou", "precision", "recall")
    return Report(
        inputs=inputs,
        measure=functools.partial(measure, config.loss),
        fit=lambda measured: {"threshold": metrics.best_threshold(measured.sums)},
        metrics=summarize,
        headline=tuple(dict.fromkeys(names))[:5],
        highlights=lambda measured, fitted: {"worst": np.argsort(measured.rows["iou"])},
        adapt=adapt,
    )


def adapt(dataset: Dataset) -> Dataset:
    """The data set as it is.

    Raises:
      UserError: its masks are of several classes.
    """
    if "classes" in dataset.info:
        raise UserError(
            f"{dataset.source} has masks of {', '.join(dataset.info['classes'])}, and the model "
            "knows one kind of object: leave data.classes out, or name that kind alone"
        )
    return dataset


def inputs(batch: dict[str, Any]) -> Any:
    """The images with their edges repeated to whole strides, as the network itself does it.

    Images below LEAST_SIDE become larger than that, and their result a little another one.
    """
    height, width = batch["image"].shape[1:3]
    more = [max(LEAST_SIDE - size, -size % STRIDE) for size in (height, width)]
    return jnp.pad(batch["image"], ((0, 0), (0, more[0]), (0, more[1]), (0, 0)), mode="edge")


def measure(options: Any, outputs: dict[str, Any], batch: dict[str, Any]) -> Measured:
    """Pixel counts, IoU of each image, and the training criterion, of predicted probabilities.

    Args:
      options: `config.loss`.
      outputs: {'probability': float32 [B, H, W]}, or larger where `inputs` enlarged the images.
      batch: 'mask', uint8 [B, H, W], and 'valid', [B]: rows of 0 count nothing.
    """
    height, width = batch["mask"].shape[1:3]
    probability = outputs["probability"][:, :height, :width]
    labels, weights = labels_and_weights(batch["mask"])
    weights = weights * batch["valid"][:, None, None]
    clipped = jnp.clip(probability, 1e-7, 1 - 1e-7)
    entropy = -(labels * jnp.log(clipped) + (1 - labels) * jnp.log1p(-clipped))
    # Dice is of a batch, not of a row: each batch counts by its rows.
    loss, _ = criterion(options, jax.scipy.special.logit(clipped), labels, weights)
    rows = batch["valid"].sum()
    return Measured(
        {
            **metrics.segmentation_sums(probability, labels, weights, BOUNDARY_RADIUS),
            "cross_entropy": (entropy * weights).sum(),
            "loss": loss * rows,
            "rows": rows,
        },
        {"iou": _image_iou(probability >= 0.5, labels, weights)},
    )


def _image_iou(predicted, labels, weights):
    """IoU of each image, float32 [B]; 1 where there is no building and none is predicted."""
    both = (predicted * labels * weights).sum((1, 2))
    either = (jnp.maximum(predicted, labels) * weights).sum((1, 2))
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def summarize(measured: Measured, fitted: dict[str, float]) -> dict[str, float]:
    """Metrics at the threshold that validation chose, and (`_at_0.5`) at one half."""
    sums = measured.sums
    threshold = fitted.get("threshold", 0.5)
    chosen = metrics.segmentation_metrics(sums, threshold)
    half = metrics.segmentation_metrics(sums, 0.5)
    pixels = float(np.sum(sums["building"]) + np.sum(sums["background"]))
    return {
        **chosen,
        "threshold": threshold,
        "cross_entropy": float(sums["cross_entropy"]) / max(pixels, 1.0),
        "loss": float(sums["loss"]) / max(float(sums["rows"]), 1.0),
        **{f"{name}_at_0.5": value for name, value in half.items()},
    }


def draw(predict, variables, batch, key, fitted) -> dict[str, np.ndarray]:
    """A few photos beside their true mask, the probability, and what is right and wrong.

    Args:
      predict: (variables, images) -> {'probability'}.
      variables, batch, key, fitted: as of `Report.draw`.
    """
    del key
    probability = np.asarray(predict(variables, batch["image"])["probability"])
    rows = []
    for image, mask, p in zip(batch["image"], batch["mask"], probability, strict=True):
        counts, truth = mask != IGNORE, mask == 1
        predicted = (p >= fitted.get("threshold", 0.5)) & counts
        overlay = grid.error_overlay(image, truth, predicted)
        rows.append([image, grid.mask_panel(truth), grid.mask_panel(p * counts), overlay])
    titles = ("photo", "truth", "probability", "hit / false / missed")
    return {"predictions": grid.image_grid(rows, titles)}
