"""How well scores are predicted, over a whole split, for each attribute and on the average.

Arrays are [N, A], photos by attributes, in units of the target; NaN marks a score that is missing.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from jaxvision.input_pipeline import score_scale
from jaxvision.input_pipeline.score_scale import Scale

RESAMPLES = 1000  # bootstrap: 95 % intervals from so many draws of N photos
INTERVALS = ("pearson", "within_one_decile", "mae", "rmse", "r2")


def summarize(
    scale: Scale, target: np.ndarray, predicted: np.ndarray, spread: np.ndarray
) -> dict[str, float]:
    """Every metric of a split.

    Args:
      scale: of the training split.
      target, predicted: as above.
      spread: the standard deviation that is said of each prediction.

    Returns:
      First the means over attributes: pearson, spearman, r2, mae, rmse, within_one_decile (the
      share of photos whose prediction lies in the true decile of the training split or beside it)
      and coverage_90 (the share of targets within 1.645 spreads of the prediction; .9 where the
      spreads are right), with bootstrap intervals <name>_low and <name>_high; then
      <name>_<attribute>. What is not defined, as the correlation of a constant, is 0.
    """
    known = np.isfinite(target)
    near = _near(scale, target, predicted)
    ones = np.ones((1, len(target)))
    single = weighted_metrics(ones, target, predicted, near)  # {name: [1, A]}
    values = {name: value[0] for name, value in single.items()}
    values["spearman"] = np.array(
        [spearman(target[k, a], predicted[k, a]) for a, k in enumerate(known.T)]
    )
    low, high = bootstrap(target, predicted, near)
    order = ("pearson", "spearman", "r2", "mae", "rmse", "within_one_decile")
    covered = np.abs(predicted - target) <= 1.645 * spread
    summary = {name: float(np.mean(values[name])) for name in order}
    summary["coverage_90"] = float(covered[known].mean()) if known.any() else 0.0
    for name in INTERVALS:
        summary |= {f"{name}_low": float(low[name][-1]), f"{name}_high": float(high[name][-1])}
    for name in order:
        for a, attribute in enumerate(scale.attributes):
            summary[f"{name}_{attribute}"] = float(values[name][a])
    for a, attribute in enumerate(scale.attributes):
        summary[f"pearson_{attribute}_low"] = float(low["pearson"][a])
        summary[f"pearson_{attribute}_high"] = float(high["pearson"][a])
    return summary


def _near(scale, target, predicted):
    """1 where a prediction is at most one decile off, else 0."""
    off = score_scale.to_decile(scale, predicted) - score_scale.to_decile(scale, target)
    return (np.abs(off) <= 1).astype(float)


def weighted_metrics(
    weights: np.ndarray, target: np.ndarray, predicted: np.ndarray, near: np.ndarray
) -> dict[str, np.ndarray]:
    """pearson, r2, mae, rmse and within_one_decile of R weightings of the photos.

    Args:
      weights: [R, N].
      target, predicted, near: [N, A].

    Returns:
      {name: [R, A]}.
    """
    known = np.isfinite(target).astype(float)
    # About their middle, so that sums of squares lose nothing.
    centre = _mean_of(target, known)
    x = np.where(known > 0, target - centre, 0.0)
    y = np.where(known > 0, predicted - centre, 0.0)
    total = np.maximum(weights @ known, 1e-9)  # [R, A]

    def mean(values):
        return weights @ (values * known) / total

    mean_x, mean_y = mean(x), mean(y)
    variance_x = np.maximum(mean(x * x) - mean_x**2, 0)
    variance_y = np.maximum(mean(y * y) - mean_y**2, 0)
    covariance = mean(x * y) - mean_x * mean_y
    error = mean((x - y) ** 2)
    return {
        "pearson": _ratio(covariance, np.sqrt(variance_x * variance_y)),
        "r2": np.where(variance_x > 1e-12, 1 - error / np.maximum(variance_x, 1e-12), 0.0),
        "mae": mean(np.abs(x - y)),
        "rmse": np.sqrt(error),
        "within_one_decile": mean(near),
    }


def _mean_of(values, known):
    return np.where(known > 0, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def _ratio(a, b):
    return np.where(b > 1e-9, a / np.maximum(b, 1e-9), 0.0)


def bootstrap(
    target: np.ndarray, predicted: np.ndarray, near: np.ndarray, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The 2.5 and 97.5 percentiles of each metric over draws of photos with replacement.

    Returns:
      two of {name: [A + 1]}, the last entry being that of the mean over attributes.
    """
    rng, photos, drawn = np.random.default_rng(seed), len(target), []
    for start in range(0, RESAMPLES, 50):  # in parts: [R, N] may be large
        count = min(50, RESAMPLES - start)
        weights = rng.multinomial(photos, np.full(photos, 1 / photos), size=count).astype(float)
        drawn.append(weighted_metrics(weights, target, predicted, near))
    low, high = {}, {}
    for name in drawn[0]:
        values = np.concatenate([part[name] for part in drawn])  # [R, A]
        values = np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)
        low[name], high[name] = np.percentile(values, (2.5, 97.5), axis=0)
    return low, high


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the ranks, ties at their mean rank; 0 where it is not defined."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def vote_accuracy(
    ballots: np.ndarray, numbers: np.ndarray, predicted: np.ndarray, attributes: Sequence[str]
) -> dict[str, float]:
    """How often the photo that a vote preferred is predicted higher; equal votes do not count.

    Args:
      ballots: int [N, K, 3]: the other photo's number, the attribute, the choice (0: this photo, 1:
        the other); -1 fills up.
      numbers: int [N], the photos' own.
      predicted: [N, A].
      attributes: names.

    Returns:
      pairwise_accuracy over all votes, and pairwise_accuracy_<attribute>; 0 without votes.
    """
    rows, others, asked, choice = _list_votes(ballots, numbers)
    decided = choice < 2
    rows, others, asked, choice = (x[decided] for x in (rows, others, asked, choice))
    own, other = predicted[rows, asked], predicted[others, asked]
    winner = np.where(choice == 0, own - other, other - own)
    right = (winner > 0) + 0.5 * (winner == 0)  # a tie is a guess
    accuracy = {"pairwise_accuracy": float(right.mean()) if len(right) else 0.0}
    for a, attribute in enumerate(attributes):
        own = right[asked == a]
        accuracy[f"pairwise_accuracy_{attribute}"] = float(own.mean()) if len(own) else 0.0
    return accuracy


def vote_loss(
    ballots: np.ndarray, numbers: np.ndarray, strength: np.ndarray, log_tie: np.ndarray
) -> float:
    """The mean of `losses.paired_comparison` over all votes, equal ones too; 0 without votes.

    Args:
      ballots, numbers: as of `vote_accuracy`.
      strength, log_tie: [N, A], as the model predicts them.
    """
    rows, others, asked, choice = _list_votes(ballots, numbers)
    if not len(rows):
        return 0.0
    difference = (strength[rows, asked] - strength[others, asked]).astype(np.float64)
    logits = np.stack([difference / 2, -difference / 2, log_tie[rows, asked]], axis=1)
    return float(-special.log_softmax(logits, axis=1)[np.arange(len(choice)), choice].mean())


def _list_votes(ballots, numbers):
    """Row of the photo, row of the other, attribute and choice of each vote: int [votes] each."""
    rows, places = np.nonzero(ballots[..., 0] >= 0)
    others, asked, choice = ballots[rows, places].T
    order = np.argsort(numbers)
    others = order[np.searchsorted(numbers, others, sorter=order).clip(0, len(numbers) - 1)]
    return rows, others, asked, choice
