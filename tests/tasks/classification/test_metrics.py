"""Classification metrics against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from jaxvision.tasks.classification import metrics


def split(seed=0, rows=400, classes=5, present=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present, rows)
    logits = rng.normal(size=(rows, classes)).round(1)  # rounded: with ties
    logits[np.arange(rows), labels] += 1.0
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("present", [5, 3])
def test_averages_equal_scikit_learn(present):
    logits, labels = split(present=present)
    said = logits.argmax(axis=1)
    ours = metrics.averages(labels, said)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, said), abs=1e-6)
    for kind in ("macro", "weighted"):
        theirs = sk.precision_recall_fscore_support(labels, said, average=kind, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), theirs[:3], strict=True):
            assert ours[f"{kind}_{name}"] == pytest.approx(value, abs=1e-6), (kind, name)
    per_class = metrics.per_class(labels, said, 5)
    theirs = sk.precision_recall_fscore_support(labels, said, labels=range(5), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        np.testing.assert_allclose(per_class[name], column, atol=1e-6)
    np.testing.assert_array_equal(
        metrics.confusion(labels, said, 5), sk.confusion_matrix(labels, said, labels=range(5))
    )


def test_ranking_metrics_equal_scikit_learn():
    logits, labels = split()
    p = metrics.probabilities(logits)
    ours = metrics.one_vs_rest(p, labels)
    assert ours["roc_auc"] == pytest.approx(
        sk.roc_auc_score(labels, p, multi_class="ovr", average="macro"), abs=1e-6
    )
    ones = np.eye(5)[labels]
    assert ours["average_precision"] == pytest.approx(
        sk.average_precision_score(ones, p, average="macro"), abs=1e-6
    )
    assert metrics.nll(logits, labels) == pytest.approx(sk.log_loss(labels, p), abs=1e-6)
    distinct = logits + np.linspace(0, 1e-3, logits.size).reshape(logits.shape)
    for k in (1, 2):
        theirs = sk.top_k_accuracy_score(labels, distinct, k=k)
        assert metrics.top_k_accuracy(distinct, labels, k) == pytest.approx(theirs, abs=1e-6)


def test_classes_without_examples_are_left_out_of_ranking_averages():
    logits, labels = split(present=4)
    p = metrics.probabilities(logits)
    expected = np.mean([sk.roc_auc_score(labels == k, p[:, k]) for k in range(4)])
    assert metrics.one_vs_rest(p, labels)["roc_auc"] == pytest.approx(expected, abs=1e-6)
    assert metrics.one_vs_rest(p[:1], labels[:1]) == {"roc_auc": 0.0, "average_precision": 0.0}


def test_calibration_error_follows_its_definition():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 500)
    correct = rng.random(500) < confidence**2  # too sure of itself
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())
    ours = metrics.expected_calibration_error(confidence, correct)
    assert ours == pytest.approx(total / 500, abs=1e-12)


def test_the_temperature_undoes_a_scaling_and_is_the_best():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4000, 4)) * 2
    p = metrics.probabilities(true)
    labels = np.array([rng.choice(4, p=row) for row in p])
    found = metrics.fit_temperature(true * 3, labels)
    assert found == pytest.approx(3, rel=0.1)
    best = metrics.nll(true * 3, labels, found)
    others = [metrics.nll(true * 3, labels, t) for t in np.geomspace(0.1, 15, 60)]
    assert best <= min(others) + 1e-9
