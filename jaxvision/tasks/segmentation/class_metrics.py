"""Metrics of masks of several classes, all from one table of counts over a whole split."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np


def confusion(predicted, labels, weights, count):
    """How many pixels of class i (row) were taken for class j (column): int32 [count, count].

    Args:
      predicted, labels: numbers of classes, one shape, of any type.
      weights: same shape, in {0, 1}; a pixel of 0 may have any label.
      count: of classes.
    """
    labels = jnp.where(weights > 0, labels, 0).astype(jnp.int32)
    places = labels * count + predicted.astype(jnp.int32)
    counts = jnp.zeros(count * count, jnp.int32)
    return counts.at[places.ravel()].add(weights.ravel().astype(jnp.int32)).reshape(count, count)


def image_iou(predicted, labels, weights, count):
    """Mean IoU of each image over the classes that it holds or is said to hold: float32 [B].

    Args: as of `confusion`, [B, H, W] each. An image without a pixel that counts has 1.
    """
    numbers = jnp.arange(count)
    own, said = ((x[..., None] == numbers) * weights[..., None] for x in (labels, predicted))
    both = (own * said).sum((1, 2))  # [B, count]
    either = own.sum((1, 2)) + said.sum((1, 2)) - both
    occurs = either > 0
    return jnp.where(
        occurs.any(1),
        (both / jnp.maximum(either, 1)).sum(1) / jnp.maximum(occurs.sum(1), 1),
        1.0,
    )


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """pixels, precision, recall and iou of each class, [K] each; nan where it is of nothing.

    Args:
      counts: of `confusion`, added up.
    """
    counts = np.asarray(counts, np.float64)
    hits, true, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan
        return {
            "pixels": true,
            "precision": hits / predicted,
            "recall": hits / true,
            "iou": hits / (true + predicted - hits),
        }


def summarize(counts: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """accuracy, mean_iou, iou (the mean without the first class) and `iou/<class>` of each.

    Means are over the classes that occur, be it as truth or as prediction. The IoU of a class that
    does not is 1, as of two empty masks, and so is a mean of none.
    """
    iou = per_class(counts)["iou"]
    return {
        "accuracy": float(np.trace(counts) / max(np.sum(counts), 1)),
        "mean_iou": _mean(iou),
        "iou": _mean(iou[1:]),
        **{f"iou/{name}": _mean(iou[k : k + 1]) for k, name in enumerate(classes)},
    }


def _mean(iou: np.ndarray) -> float:
    known = iou[np.isfinite(iou)]
    return float(known.mean()) if known.size else 1.0
