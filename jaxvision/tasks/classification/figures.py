"""Figures of a classifier: its predictions with where it looked, its errors, its calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxvision.tasks.classification import metrics
from jaxvision.visualize.grid import heat_overlay

COLUMNS = 6  # pictures across a grid
MOST_CLASSES = 40  # a confusion matrix of more is unreadable


def prediction_grid(
    batch: dict[str, np.ndarray], p: np.ndarray, heat: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Pictures, each with truth and prediction above and Grad-CAM below.

    Args:
      batch: 'image', uint8 [N, S, S, C], and 'label', int [N].
      p: float [N, K], probabilities.
      heat: float [N, s, s] in [0, 1], of the middle of each image.
      classes: names.

    Returns:
      uint8 [H, W, 3].
    """
    count, crop = len(p), heat.shape[1]
    start = (batch["image"].shape[1] - crop) // 2
    images = np.asarray(batch["image"])[:, start : start + crop, start : start + crop]
    columns, lines = min(COLUMNS, count), -(-count // COLUMNS)
    figure = new_figure((1.7 * columns, 4.0 * lines))
    panels = figure.subplots(2 * lines, columns, squeeze=False)
    for panel in panels.flat:
        panel.axis("off")
    for i in range(count):
        line, column = divmod(i, columns)
        above, below = panels[2 * line][column], panels[2 * line + 1][column]
        truth, predicted = int(batch["label"][i]), int(p[i].argmax())
        above.imshow(np.broadcast_to(images[i], (crop, crop, 3)))
        below.imshow(heat_overlay(images[i], heat[i]))
        above.set_title(
            f"{classes[truth]}\npredicted {classes[predicted]} {p[i, predicted]:.0%}",
            fontsize=8,
            color="black" if truth == predicted else "#b00060",
        )
    return to_picture(figure)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Rows are truths, in shares of their class, with the counts written in: uint8 [H, W, 3]."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.0, 0.62 * len(classes) + 1.6)
    figure = new_figure((size + 0.6, size))
    panel = figure.subplots()
    drawn = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=panel, label="share of the true class", shrink=0.8)
    places = range(len(classes))
    panel.set_xticks(places, classes, rotation=45, ha="right")
    panel.set_yticks(places, classes)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    for i in places:
        for j in places:
            colour = "white" if shares[i, j] > 0.5 else "black"
            panel.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color=colour)
    return to_picture(figure)


def class_bars(scores: dict[str, np.ndarray], classes: Sequence[str]) -> np.ndarray:
    """Precision, recall and F1 of each class, as `metrics.per_class` has them: uint8 [H, W, 3]."""
    figure = new_figure((6.0, 0.42 * len(classes) + 1.4))
    panel = figure.subplots()
    places = np.arange(len(classes))
    for i, name in enumerate(("precision", "recall", "f1")):
        panel.barh(places + 0.27 * (i - 1), scores[name], height=0.25, label=name)
    support = scores["support"]
    panel.set_yticks(places, [f"{c} ({n})" for c, n in zip(classes, support, strict=True)])
    panel.invert_yaxis()
    panel.set_xlim(0, 1)
    panel.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return to_picture(figure)


def reliability_diagram(logits: np.ndarray, labels: np.ndarray, temperature: float) -> np.ndarray:
    """Accuracy against confidence, before and after temperature scaling: uint8 [H, W, 3]."""
    figure = new_figure((8.0, 4.0))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, divisor in zip(panels, (1.0, temperature), strict=True):
        p = metrics.probabilities(logits, divisor)
        correct = p.argmax(axis=1) == labels
        count, mean_confidence, accuracy = metrics.reliability(p.max(axis=1), correct)
        ece = metrics.expected_calibration_error(p.max(axis=1), correct)
        edges = np.linspace(0, 1, len(count) + 1)
        panel.bar(edges[:-1], accuracy, 1 / len(count), align="edge", edgecolor="white")
        panel.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
        panel.plot(edges[:-1] + 0.5 / len(count), count / max(count.sum(), 1), color="tab:orange")
        panel.plot(mean_confidence[count > 0], accuracy[count > 0], ".", color="black")
        panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence")
        panel.set_title(f"temperature {divisor:.2f}: ECE {ece:.3f}", fontsize=10)
    panels[0].set_ylabel("accuracy (bars), share of rows (line)")
    return to_picture(figure)


def new_figure(size: tuple[float, float]) -> Any:
    """An empty matplotlib figure, inches at 100 pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=100, layout="constrained")


def to_picture(figure: Any) -> np.ndarray:
    """A figure drawn, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
