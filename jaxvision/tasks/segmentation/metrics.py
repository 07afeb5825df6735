"""Metrics as sums over a whole split, never means of batches."""

import jax
import jax.numpy as jnp
import numpy as np

BINS = 100  # thresholds 0.01, 0.02, ... 0.99, that is 0.5 among them
HALF = 50


def histogram(probability, weights):
    """How many probabilities lie in each of BINS equal bins of [0, 1]: int32 [BINS].

    Args:
      probability: any shape, in [0, 1].
      weights: same shape, in {0, 1}. Counted as integers: float32 stops counting at 2**24 pixels.
    """
    index = jnp.clip((probability * BINS).astype(jnp.int32), 0, BINS - 1)
    return jnp.zeros(BINS, jnp.int32).at[index.ravel()].add(weights.ravel().astype(jnp.int32))


def erode(values, radius):
    """Smallest value within `radius` pixels (square window): [B, H, W] -> [B, H, W].

    For a mask this is erosion. The outside of the image erodes nothing: a mask that runs into the
    border has no boundary there.
    """
    for axis in (1, 2):
        window = [1] * values.ndim
        window[axis] = 2 * radius + 1
        values = jax.lax.reduce_window(values, jnp.inf, jax.lax.min, window, [1] * 3, "SAME")
    return values


def segmentation_sums(probability, labels, weights, radius):
    """What every threshold's pixel metrics and boundary IoU follow from, in one pass.

    The boundary of a mask is the mask less its erosion (Cheng et al. 2021, arXiv 2103.16562). A
    mask `probability >= t` erodes to `erode(probability) >= t`, so the boundaries at all thresholds
    follow from histograms of the probability and of its erosion.

    Args:
      probability: float32 [B, H, W], of building.
      labels: float32 [B, H, W] in {0, 1}.
      weights: float32 [B, H, W] in {0, 1}; 0: the pixel counts nowhere.
      radius: boundary width, pixels.

    Returns:
      {name: int32 [BINS]} to be added up over batches.
    """
    # What does not count must not erode its neighbours either.
    eroded = erode(jnp.where(weights > 0, probability, 1.0), radius)
    edge = (labels - erode(jnp.where(weights > 0, labels, 1.0), radius)) * weights
    edge = jnp.maximum(edge, 0.0)
    return {
        "building": histogram(probability, labels * weights),
        "background": histogram(probability, (1 - labels) * weights),
        "eroded": histogram(eroded, weights),
        "edge": histogram(probability, edge),
        "edge_eroded": histogram(eroded, edge),
    }


def _at_least(counts):
    """Counts of each bin -> counts at or above each threshold k / BINS."""
    return np.cumsum(np.asarray(counts, np.float64)[::-1])[::-1]


def best_threshold(sums) -> float:
    """The threshold with the highest IoU of buildings; 0.5 where there are no buildings."""
    hits, false = _at_least(sums["building"]), _at_least(sums["background"])
    if not hits[0]:
        return HALF / BINS
    return float(np.argmax(_ratio(hits, hits[0] + false)[1:]) + 1) / BINS


def segmentation_metrics(sums, threshold: float) -> dict[str, float]:
    """Pixel metrics of the mask `probability >= threshold` over a whole split.

    Args:
      sums: of `segmentation_sums`, added up.
      threshold: a multiple of 1 / BINS.

    Returns:
      accuracy, precision, recall, iou (buildings), mean_iou (buildings and background) and
      boundary_iou. A ratio of nothing to nothing is 1 where nothing was to be found, as for IoU of
      two empty masks, and 0 for precision or recall, as scikit-learn has it.
    """
    k = round(threshold * BINS)
    hits, false = _at_least(sums["building"])[k], _at_least(sums["background"])[k]
    buildings, background = np.sum(sums["building"]), np.sum(sums["background"])
    missed, rejected = buildings - hits, background - false
    edge, edge_hits = np.sum(sums["edge"]), _at_least(sums["edge"])[k]
    predicted_edge = hits + false - _at_least(sums["eroded"])[k]
    common_edge = edge_hits - _at_least(sums["edge_eroded"])[k]
    iou = _ratio(hits, hits + false + missed, empty=1.0)
    values = {
        "accuracy": _ratio(hits + rejected, buildings + background),
        "precision": _ratio(hits, hits + false),
        "recall": _ratio(hits, buildings),
        "iou": iou,
        "mean_iou": (iou + _ratio(rejected, rejected + false + missed, empty=1.0)) / 2,
        "boundary_iou": _ratio(common_edge, edge + predicted_edge - common_edge, empty=1.0),
    }
    return {name: float(value) for name, value in values.items()}


def _ratio(numerator, denominator, empty=0.0):
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, numerator / safe, empty)
