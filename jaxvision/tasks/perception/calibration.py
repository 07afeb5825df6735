"""What validation adds to the network: scores on their scale, and spreads that are right."""

import numpy as np

from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.task import Measured


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
    """Scores and spreads [..., A] by what `fit` chose; as they are where it chose nothing."""
    slope, offset, factor = (
        np.array([fitted.get(f"{name}_{attribute}", default) for attribute in scale.attributes])
        for name, default in (("slope", 1.0), ("offset", 0.0), ("spread", 1.0))
    )
    return offset + slope * score, factor * spread
