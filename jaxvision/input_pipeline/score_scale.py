"""Scores on the scale that a network learns: [1, 10], or deciles, of the training split."""

from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError


class Scale(NamedTuple):
    """How raw scores become targets; every array from the training split.

    Attributes:
      attributes: names, A of them.
      target: 'range': the smallest score is 1 and the largest 10; 'deciles': 1 to 10, each holding
        a tenth of the scores.
      low, high: float32 [A], the smallest and the largest raw score.
      edges: float32 [A, 9], the raw scores between deciles.
      mean, std: float32 [A], of the targets.
    """

    attributes: tuple[str, ...]
    target: str
    low: np.ndarray
    high: np.ndarray
    edges: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def measure_scale(scores: np.ndarray, attributes: tuple[str, ...], target: str) -> Scale:
    """The scale of the training split's raw scores, float32 [N, A] with NaN where missing.

    Raises:
      UserError: an attribute that is missing or the same everywhere.
    """
    counts = np.isfinite(scores).sum(axis=0)
    if not counts.all():
        name = attributes[int(np.argmin(counts))]
        raise UserError(f"{name}: none of the {len(scores)} training photos has a score")
    low, high = np.nanmin(scores, axis=0), np.nanmax(scores, axis=0)
    flat = [i for i in range(len(attributes)) if low[i] == high[i]]
    if flat:
        listed = ", ".join(f"{attributes[i]} (all {low[i]:g})" for i in flat)
        raise UserError(
            f"{len(flat)} of {len(attributes)} attributes have one score for all training photos, "
            f"{listed}: there is nothing to learn; leave them out with data.attributes"
        )
    edges = np.nanquantile(scores, np.arange(1, 10) / 10, axis=0).T.astype(np.float32)  # [A, 9]
    unit = np.ones(len(attributes), np.float32)
    scale = Scale(tuple(attributes), target, low, high, edges, 0 * unit, unit)
    targets = to_target(scale, scores)
    mean, std = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
    return scale._replace(mean=mean.astype(np.float32), std=std.astype(np.float32))


def to_target(scale: Scale, scores: Any) -> Any:
    """Raw scores [..., A] as targets; NaN stays NaN. Takes numpy's and JAX's arrays."""
    if scale.target == "range":
        return 1 + 9 * (scores - scale.low) / (scale.high - scale.low)
    above = (scores[..., None] > scale.edges).sum(-1)  # [..., A]
    return 1.0 + above + 0 * scores  # 0 * NaN is NaN, and a comparison with NaN is not


def to_decile(scale: Scale, targets: np.ndarray) -> np.ndarray:
    """The training split's decile, 1 to 10, that targets [..., A] lie in; NaN stays NaN."""
    if scale.target == "deciles":
        return np.clip(np.round(targets), 1, 10)
    edges = to_target(scale, scale.edges.T).T  # [A, 9]
    return 1.0 + (targets[..., None] > edges).sum(-1) + 0 * targets


def to_info(scale: Scale) -> dict[str, Any]:
    """The scale as JSON-able values."""
    arrays = {k: v.tolist() for k, v in scale._asdict().items() if isinstance(v, np.ndarray)}
    return {"attributes": list(scale.attributes), "target": scale.target, **arrays}


def from_info(info: dict[str, Any]) -> Scale:
    """The inverse of `to_info`."""
    arrays = {k: np.array(info[k], np.float32) for k in ("low", "high", "edges", "mean", "std")}
    return Scale(tuple(info["attributes"]), info["target"], **arrays)
