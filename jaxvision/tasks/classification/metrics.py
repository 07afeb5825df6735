"""Metrics of a classifier over a whole split, on the host, as scikit-learn defines them."""

import numpy as np

ECE_BINS = 15


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature), float64 [N, K]."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often class i (row) was taken for class j (column): int64 [K, K]."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predicted, labels=range(classes))


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """precision, recall, f1 and support of each class, [K] each; a ratio of nothing is 0."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=0
    )
    return dict(zip(("precision", "recall", "f1", "support"), columns, strict=True))


def averages(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """accuracy, and macro and weighted precision, recall and F1.

    Macro averages go over the classes that occur, be it as truth or as prediction; weighted ones
    count a class by its share of the truth.
    """
    from sklearn.metrics import precision_recall_fscore_support

    values = {"accuracy": float(np.mean(labels == predicted))}
    for kind in ("macro", "weighted"):
        scores = precision_recall_fscore_support(labels, predicted, average=kind, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
            values[f"{kind}_{name}"] = float(value)
    return values


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of rows whose label is among the k largest logits (equal ones count before it)."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # Fewer than k others at least as large: ties do not help.
    return float(np.mean((logits >= own).sum(axis=1) <= k))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of one class against the rest; nan where one side is empty."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, scores))


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Sum of precision times gain in recall over the thresholds; nan without positives."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, scores)) if positive.any() else float("nan")


def one_vs_rest(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean roc_auc and average_precision over the classes that have both sides; else 0."""
    values = {"roc_auc": [], "average_precision": []}
    for k in range(scores.shape[1]):
        positive = labels == k
        if positive.any() and not positive.all():
            values["roc_auc"].append(roc_auc(scores[:, k], positive))
            values["average_precision"].append(average_precision(scores[:, k], positive))
    return {name: float(np.mean(each)) if each else 0.0 for name, each in values.items()}


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
    confidences = np.bincount(index, weights=confidence, minlength=bins)
    hits = np.bincount(index, weights=correct, minlength=bins)
    return count, _ratio(confidences, count), _ratio(hits, count)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean gap of confidence and accuracy over 15 bins (Guo et al. 2017, arXiv 1706.04599)."""
    count, mean_confidence, accuracy = reliability(confidence, correct)
    return float((count * np.abs(mean_confidence - accuracy)).sum() / max(count.sum(), 1))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least NLL (Guo et al. 2017), between .05 and 20.

    The NLL is convex in 1 / T, so it has one minimum in log T.
    """
    from scipy.optimize import minimize_scalar

    least = minimize_scalar(
        lambda log_t: nll(logits, labels, np.exp(log_t)),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(least.x))


def _ratio(numerator, denominator):
    denominator = np.asarray(denominator, np.float64)
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), 0.0)
