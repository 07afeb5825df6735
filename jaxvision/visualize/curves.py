"""Learning curves of a run, from its metrics.jsonl."""

import json
from pathlib import Path

import numpy as np


def learning_curves(metrics_path: Path, metric: str) -> np.ndarray:
    """The training and validation loss and one metric of both over steps.

    Args:
      metrics_path: a run's metrics.jsonl.
      metric: name of a validation metric, e.g. 'iou'.

    Returns:
      a picture, uint8 [H, W, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics_path.read_text().splitlines()]
    figure = Figure(figsize=(9, 3.2), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2)
    pairs = (("train/loss", "val/loss", "val/nll"), (f"train/{metric}", f"val/{metric}"))
    for panel, names in zip(panels, pairs, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            if points:
                panel.plot(
                    *zip(*points, strict=True), marker="." if len(points) < 60 else "", label=name
                )
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
