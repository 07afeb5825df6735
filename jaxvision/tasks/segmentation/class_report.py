"""What is made of a split's masks of several classes: metrics, tables and figures."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.relabel import match_masks
from jaxvision.task import Measured, Report
from jaxvision.tasks.segmentation import class_metrics, overlay
from jaxvision.tasks.segmentation.class_criterion import criterion, labels_and_weights
from jaxvision.tasks.segmentation.criterion import IGNORE
from jaxvision.tasks.segmentation.report import inputs
from jaxvision.visualize import grid

UNCOUNTED = (128, 128, 128)  # in figures, of pixels that do not count


def make(config: ConfigDict, classes: Sequence[str]) -> Report:
    """The report of a config, without `draw`.

    Args:
      classes: of the masks.
    """
    names = (config.checkpoint.best_metric, "mean_iou", "iou", "accuracy", "loss")
    return Report(
        inputs=inputs,
        measure=functools.partial(measure, config.loss),
        fit=lambda measured: {},
        metrics=functools.partial(summarize, classes),
        headline=tuple(dict.fromkeys(names))[:5],
        tables=functools.partial(tables, classes),
        highlights=lambda measured, fitted: {"worst": np.argsort(measured.rows["iou"])},
        adapt=functools.partial(adapt, classes),
    )


def measure(options: Any, outputs: dict[str, Any], batch: dict[str, Any]) -> Measured:
    """A table of counts, mean IoU of each image, and the training criterion.

    Args:
      options: `config.loss`.
      outputs: {'probabilities': float32 [B, H, W, K]}, H and W larger where `inputs` made them so.
      batch: 'mask', uint8 [B, H, W], and 'valid', [B]: rows of 0 count nothing.
    """
    height, width = batch["mask"].shape[1:3]
    probabilities = outputs["probabilities"][:, :height, :width]
    labels, weights = labels_and_weights(batch["mask"])
    weights = weights * batch["valid"][:, None, None]
    # Logarithms of probabilities are logits whose softmax is these probabilities again.
    logits = jnp.log(jnp.clip(probabilities, 1e-7, 1.0))
    loss, parts = criterion(options, logits, labels, weights)
    predicted, count, rows = probabilities.argmax(-1), probabilities.shape[-1], batch["valid"].sum()
    return Measured(
        {
            "confusion": class_metrics.confusion(predicted, labels, weights, count),
            "cross_entropy": parts["cross_entropy"] * weights.sum(),
            "loss": loss * rows,
            "rows": rows,
        },
        {"iou": class_metrics.image_iou(predicted, labels, weights, count)},
    )


def summarize(
    classes: Sequence[str], measured: Measured, fitted: dict[str, float]
) -> dict[str, float]:
    """Those of `class_metrics.summarize`, cross_entropy of a pixel, and loss."""
    sums = measured.sums
    return {
        **class_metrics.summarize(sums["confusion"], classes),
        "cross_entropy": float(sums["cross_entropy"]) / max(float(np.sum(sums["confusion"])), 1.0),
        "loss": float(sums["loss"]) / max(float(sums["rows"]), 1.0),
    }


def tables(classes: Sequence[str], measured: Measured, fitted: dict[str, float]) -> dict[str, Any]:
    """Of each class pixels, precision, recall and IoU, None where they are of nothing.

    And 'confusion': a row for each true class, with its pixels by predicted class.
    """
    counts = np.asarray(measured.sums["confusion"])
    columns = class_metrics.per_class(counts)
    pixels = columns.pop("pixels").astype(int).tolist()
    scores = {
        name: [float(value) if np.isfinite(value) else None for value in column]
        for name, column in columns.items()
    }
    return {
        "classes": [
            {"class": name, "pixels": pixels[k], **{key: scores[key][k] for key in scores}}
            for k, name in enumerate(classes)
        ],
        "confusion": [
            {"truth": name, **dict(zip(classes, row, strict=True))}
            for name, row in zip(classes, counts.tolist(), strict=True)
        ],
    }


def adapt(classes: Sequence[str], dataset: Dataset) -> Dataset:
    """Other data for a trained model: the same classes, or some of them, in the model's order.

    Raises:
      UserError: its masks are of one kind of object, or of a class that the model does not know.
    """
    if "classes" not in dataset.info:
        raise UserError(
            f"{dataset.source} has masks of one kind of object, and the model knows the classes "
            f"{', '.join(classes)}: name those of the masks by data.classes, from value 0 on"
        )
    return match_masks(dataset, classes)


def draw(
    predict: Callable, palette: np.ndarray, classes: Sequence[str], variables, batch, key, fitted
) -> dict[str, np.ndarray]:
    """A few photos beside their true mask, the predicted one, and what is wrong.

    Args:
      predict: (variables, images) -> {'probabilities'}.
      palette: of `overlay.palette_of`.
      classes: of the masks.
      variables, batch, key, fitted: as of `Report.draw`.
    """
    del key, fitted
    predicted = np.asarray(predict(variables, batch["image"])["probabilities"]).argmax(-1)
    colours = np.full((256, 3), UNCOUNTED, np.uint8)
    colours[: len(palette)] = palette
    rows = []
    for image, mask, said in zip(batch["image"], batch["mask"], predicted, strict=True):
        wrong = (mask != said) & (mask != IGNORE)
        errors = np.array(image)
        errors[wrong] = 0.4 * image[wrong] + 0.6 * np.float32(grid.MISSED)
        rows.append([image, colours[mask], colours[said], errors])
    picture = grid.image_grid(rows, ("photo", "truth", "predicted", "wrong"))
    return {"predictions": overlay.with_legend(picture, classes, palette)}
