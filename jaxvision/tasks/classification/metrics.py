"""Metrics of a classifier over a whole split, on the host, as scikit-learn defines them."""

import numpy as np
from scipy.stats import rankdata

ECE_BINS = 15


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature), float64 [N, K]."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often class i (row) was taken for class j (column): int64 [K, K]."""
    pairs = np.asarray(labels, np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1 and support of each class, [K] each, from a confusion matrix.

    A ratio of nothing to nothing is 0.
    """
    hits = np.diagonal(counts).astype(np.float64)
    precision = _ratio(hits, counts.sum(axis=0))
    recall = _ratio(hits, counts.sum(axis=1))
    f1 = _ratio(2 * hits, counts.sum(axis=0) + counts.sum(axis=1))
    return {"precision": precision, "recall": recall, "f1": f1, "support": counts.sum(axis=1)}


def averages(counts: np.ndarray) -> dict[str, float]:
    """accuracy, and macro and weighted precision, recall and F1, from a confusion matrix.

    Macro averages go over the classes that occur, be it as truth or as prediction; weighted ones
    count a class by its share of the truth.
    """
    found = per_class(counts)
    occurs = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    total = max(counts.sum(), 1)
    values = {"accuracy": float(np.trace(counts) / total)}
    for kind, weights in (("macro", occurs / max(occurs.sum(), 1)), ("weighted", None)):
        weights = found["support"] / total if weights is None else weights
        for name in ("precision", "recall", "f1"):
            values[f"{kind}_{name}"] = float(found[name] @ weights)
    return values


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of rows whose label is among the k largest logits (equal ones count before it)."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # Fewer than k others at least as large: ties do not help.
    return float(np.mean((logits >= own).sum(axis=1) <= k))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of one class against the rest; nan where one side is empty."""
    n, p = len(positive), int(positive.sum())
    if p in (0, n):
        return float("nan")
    ranks = rankdata(scores)  # ties share their mean rank
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * (n - p)))


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Sum of precision times gain in recall over the thresholds; nan without positives."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # one threshold a value
    recall = hits[last] / hits[-1]
    return float(np.diff(recall, prepend=0.0) @ (hits[last] / (last + 1)))


def one_vs_rest(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean roc_auc and average_precision over the classes that have both sides; else 0."""
    values = {"roc_auc": [], "average_precision": []}
    for k in range(scores.shape[1]):
        positive = labels == k
        if positive.any() and not positive.all():
            values["roc_auc"].append(roc_auc(scores[:, k], positive))
            values["average_precision"].append(average_precision(scores[:, k], positive))
    return {name: float(np.mean(found)) if found else 0.0 for name, found in values.items()}


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the labels, nats."""
    scaled = np.asarray(logits, np.float64) / temperature
    top = scaled.max(axis=1, keepdims=True)
    normaliser = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
    return float(np.mean(normaliser - np.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS):
    """Equal bins of confidence (lower edge open, upper closed): (count, confidence, accuracy).

    Each float64 [bins]; the means are 0 in an empty bin.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins).astype(np.float64)
    sure = np.bincount(index, weights=confidence, minlength=bins)
    right = np.bincount(index, weights=correct, minlength=bins)
    return count, _ratio(sure, count), _ratio(right, count)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean gap of confidence and accuracy over 15 bins (Guo et al. 2017, arXiv 1706.04599)."""
    count, sure, right = reliability(confidence, correct)
    return float((count * np.abs(sure - right)).sum() / max(count.sum(), 1))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least NLL (Guo et al. 2017), between .05 and 20.

    The NLL is convex in 1 / T, so a golden section search in log T finds it.
    """
    low, high = np.log(0.05), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    value = {t: nll(logits, labels, np.exp(t)) for t in (a, b)}
    while high - low > 1e-4:
        if value[a] < value[b]:
            high, b = b, a
            a = high - golden * (high - low)
        else:
            low, a = a, b
            b = low + golden * (high - low)
        for t in (a, b):
            if t not in value:
                value[t] = nll(logits, labels, np.exp(t))
    return float(np.exp((low + high) / 2))


def _ratio(numerator, denominator):
    denominator = np.asarray(denominator, np.float64)
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), 0.0)
