"""What is reported of a classified split: metrics, figures, tables, confident mistakes."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.relabel import match_classes
from jaxvision.task import Measured, Report
from jaxvision.tasks.classification import criterion, figures, metrics, robustness


def make_report(config: ConfigDict, info: dict[str, Any]) -> Report:
    """The report of a config; `Report.draw` needs the network and is added by `make`."""
    classes = info["classes"]
    return Report(
        measure=make_measure(config, info),
        fit=_fit,
        metrics=functools.partial(summarize, int(np.argmax(info["train_counts"]))),
        headline=("accuracy", "macro_f1", "loss", "ece_calibrated"),
        figures=functools.partial(_figures, classes),
        tables=functools.partial(_tables, classes),
        highlights=_highlights,
        adapt=functools.partial(_adapt, classes, info["channels"]),
        conditions=robustness.conditions(config),
        compare=functools.partial(robustness.compare, classes),
    )


def make_measure(config: ConfigDict, info: dict[str, Any]) -> Callable[..., Measured]:
    """(outputs, batch) -> Measured: the loss, and the logits and label of each row.

    With `eval.corruptions` also each picture's 'sharpness'.
    """
    weights = criterion.class_weights(config.loss.class_weights, info["train_counts"])

    def measure(outputs, batch):
        logits, label, valid = outputs["logits"], batch["label"], batch["valid"]
        losses = criterion.row_losses(config.loss, weights, logits, label)
        sums = {"loss": (losses * valid).sum(), "rows": valid.sum()}
        rows = {"logits": logits, "label": label}
        if config.eval.corruptions:
            rows["sharpness"] = robustness.sharpness(batch["image"])
        return Measured(sums, rows)

    return measure


def _fit(measured):
    rows = measured.rows
    return {"temperature": metrics.fit_temperature(rows["logits"], rows["label"])}


def summarize(majority: int, measured: Measured, fitted: dict[str, float]) -> dict[str, float]:
    """Of the middle crop as it is; `_calibrated` at the temperature validation chose; `_views`.

    `majority` is the most common class of the training split.
    """
    rows = measured.rows
    logits, labels = np.asarray(rows["logits"]), np.asarray(rows["label"])
    temperature = fitted.get("temperature", 1.0)
    values = metrics.averages(labels, logits.argmax(axis=1))
    if logits.shape[1] > 5:
        values["top5_accuracy"] = metrics.top_k_accuracy(logits, labels, 5)
    values |= metrics.one_vs_rest(metrics.probabilities(logits), labels)
    for suffix, divisor in (("", 1.0), ("_calibrated", temperature)):
        p = metrics.probabilities(logits, divisor)
        correct = p.argmax(axis=1) == labels
        values[f"nll{suffix}"] = metrics.nll(logits, labels, divisor)
        values[f"ece{suffix}"] = metrics.expected_calibration_error(p.max(axis=1), correct)
    values["temperature"] = temperature
    values["majority_accuracy"] = float(np.mean(labels == majority))
    if "views" in rows:
        views = np.asarray(rows["views"])
        averages = metrics.averages(labels, views.argmax(axis=1))
        values |= {f"{name}_views": averages[name] for name in ("accuracy", "macro_f1")}
        values["nll_views"] = metrics.nll(views, labels)
    values["loss"] = float(measured.sums["loss"]) / max(float(measured.sums["rows"]), 1.0)
    return values


def _figures(classes, measured, fitted):
    """Of a whole split: confusion matrix, each class's scores, reliability diagram."""
    logits, labels = (np.asarray(measured.rows[name]) for name in ("logits", "label"))
    temperature = fitted.get("temperature", 1.0)
    drawn = {"reliability": figures.reliability_diagram(logits, labels, temperature)}
    if len(classes) <= figures.MOST_CLASSES:
        predicted = logits.argmax(axis=1)
        counts = metrics.confusion(labels, predicted, len(classes))
        scores = metrics.per_class(labels, predicted, len(classes))
        drawn["confusion"] = figures.confusion_matrix(counts, classes)
        drawn["classes"] = figures.class_bars(scores, classes)
    return drawn


def _tables(classes, measured, fitted):
    logits, labels = (np.asarray(measured.rows[name]) for name in ("logits", "label"))
    predicted = logits.argmax(axis=1)
    scores = metrics.per_class(labels, predicted, len(classes))
    columns = {name: column.tolist() for name, column in scores.items()}
    p = metrics.probabilities(logits)
    for name in ("roc_auc", "average_precision"):
        curve = getattr(metrics, name)
        column = [curve(p[:, k], labels == k) for k in range(len(classes))]
        columns[name] = [value if np.isfinite(value) else None for value in column]
    counts = metrics.confusion(labels, predicted, len(classes))
    return {
        "classes": [
            {"class": name, **{key: column[k] for key, column in columns.items()}}
            for k, name in enumerate(classes)
        ],
        "confusion": [
            {"truth": name, **dict(zip(classes, row, strict=True))}
            for name, row in zip(classes, counts.tolist(), strict=True)
        ],
    }


def _highlights(measured, fitted):
    """Wrong rows, the most confident first."""
    logits, labels = (np.asarray(measured.rows[name]) for name in ("logits", "label"))
    p = metrics.probabilities(logits)
    wrong = np.flatnonzero(p.argmax(axis=1) != labels)
    if not len(wrong):
        return {}
    return {"confident_mistakes": wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]}


def _adapt(classes, channels, dataset: Dataset) -> Dataset:
    """Other data for a trained model: the same classes, or some of them, in the model's order."""
    if dataset.info["channels"] != channels:
        raise UserError(f"the model was trained on {channels} channels: set data.channels to that")
    return match_classes(dataset, classes)
