"""Which pictures a classifier gets wrong: blurred or small ones, and under what a webcam does."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.input_pipeline.augment import webcam
from jaxvision.input_pipeline.dataset import Split
from jaxvision.task import Measured, Under
from jaxvision.tasks.classification import corrupted_figures

STRENGTHS = dict(zip(("mild", "medium", "strong"), webcam.SEVERITIES, strict=True))
CONDITIONS = [(name, strength) for name in webcam.CORRUPTIONS for strength in STRENGTHS]
QUARTERS = 4
FACES = 2  # in the figure of examples


def conditions(config: ConfigDict) -> dict[tuple[str, str], Callable]:
    """`Report.conditions`: {(corruption, strength): (batch, rows) -> batch}, or {}.

    A corruption is compiled once, for all strengths.
    """
    if not config.eval.corruptions:
        return {}
    programs = {
        name: jax.jit(functools.partial(webcam.corrupt, name, config.seed))
        for name in webcam.CORRUPTIONS
    }

    def change(name, strength, batch, rows):
        severity = np.float32(STRENGTHS[strength])
        return {**batch, "image": programs[name](batch["image"], rows, severity)}

    return {pair: functools.partial(change, *pair) for pair in CONDITIONS}


def sharpness(images):
    """Variance of the Laplacian of each picture, float32 [B]: the less, the more blurred it is.

    Args:
      images: uint8 [B, S, S, C], gray or RGB.
    """
    gray = jnp.asarray(images, jnp.float32).mean(axis=-1)
    middle = gray[:, 1:-1, 1:-1]
    around = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:]
    return (around - 4 * middle).var(axis=(1, 2))


def compare(
    classes: list[str], measured: Measured, under: Mapping[tuple[str, str], Under], split: Split
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`Report.compare`: tables by blur, size and corruption, and figures of the last.

    Args:
      classes: names.
      measured: of the pictures as they are, with 'sharpness' beside 'logits' and 'label'.
      under: of the same, under each of `conditions`.
      split: that was measured.
    """
    right = _right(measured)
    accuracies = {pair: float(_right(each.measured).mean()) for pair, each in under.items()}
    tables = {"blur": by_quarter("sharpness", np.asarray(measured.rows["sharpness"]), right)}
    if len(set(split.sizes)) > 1:
        tables["size"] = by_quarter("pixels", np.asarray(split.sizes), right)
    tables["corruptions"] = by_corruption(float(right.mean()), accuracies)
    spread = next(iter(under.values())).rows
    if not len(spread):  # eval.figure_rows=0
        return tables, {}
    chosen = np.arange(0, len(spread), -(-len(spread) // FACES))
    rows = spread[chosen]
    pictures = [split.read(int(row))["image"] for row in rows]
    answers = _answers(classes, measured, rows)
    shown = {(name, "as it is"): (pictures, answers) for name in webcam.CORRUPTIONS}
    for pair, each in under.items():
        shown[pair] = each.shown["image"][chosen], _answers(classes, each.measured, rows)
    truths = [classes[int(measured.rows["label"][row])] for row in rows]
    return tables, {
        "corruptions": corrupted_figures.curves(tables["corruptions"], STRENGTHS),
        "corrupted": corrupted_figures.examples(shown, truths),
    }


def _answers(classes: list[str], measured: Measured, rows: np.ndarray) -> list[str]:
    return [classes[int(measured.rows["logits"][row].argmax())] for row in rows]


def _right(measured: Measured) -> np.ndarray:
    """Whether each row's answer is its label, bool [N]."""
    return np.asarray(measured.rows["logits"]).argmax(axis=1) == measured.rows["label"]


def by_quarter(name: str, values: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy of the quarter of the rows with the least value, and so on.

    Equal values are in the same row of the table, so there may be fewer than four.

    Args:
      name: of what is measured.
      values: [N].
      right: bool [N].

    Returns:
      rows with the least and greatest value, how many there are, accuracy and its standard error.
    """
    edges = np.quantile(values, np.arange(1, QUARTERS) / QUARTERS)
    quarter = np.searchsorted(edges, values, side="left")
    table = []
    for number in np.unique(quarter):
        inside = quarter == number
        accuracy, count = float(right[inside].mean()), int(inside.sum())
        table.append(
            {
                f"{name} from": _number(values[inside].min()),
                "to": _number(values[inside].max()),
                "examples": count,
                "accuracy": accuracy,
                "standard error": float(np.sqrt(accuracy * (1 - accuracy) / count)),
            }
        )
    return table


def _number(value: Any) -> float | int:
    return int(value) if np.issubdtype(type(value), np.integer) else round(float(value), 1)


def by_corruption(
    clean: float, accuracies: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """A row a corruption: accuracy at each strength, their mean, and what of `clean` is lost.

    The first row is of the pictures as they are, the last the mean over all corruptions.
    """
    rows = {"none": dict.fromkeys(STRENGTHS, clean)}
    for name in webcam.CORRUPTIONS:
        rows[name] = {strength: accuracies[name, strength] for strength in STRENGTHS}
    rows["mean"] = {
        strength: float(np.mean([rows[name][strength] for name in webcam.CORRUPTIONS]))
        for strength in STRENGTHS
    }
    table = []
    for name, values in rows.items():
        mean = float(np.mean(list(values.values())))
        table.append({"corruption": name, **values, "mean": mean, "lost": clean - mean})
    return table
