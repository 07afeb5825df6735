"""Pictures of a study: how it went, what each field did, and which fields mattered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution
from PIL import Image

IMPORTANT_FROM = 6  # complete trials from which importances are drawn; few tell nothing
COLUMNS = 3  # panels in a row
DONE, STOPPED = "C0", "0.7"


def history(table: Sequence[dict[str, Any]], label: str, higher_is_better: bool) -> Figure:
    """The value of each trial in their order, and the best until then."""
    figure, panel = _figure(7, 3.6)
    done = sorted((r["trial"], r["value"]) for r in table if r["state"] == "complete")
    other = [(r["trial"], r["value"]) for r in _valued(table) if r["state"] != "complete"]
    if other:
        panel.plot(*zip(*other, strict=True), "x", color=STOPPED, label="not run to its end")
    if done:
        numbers, values = zip(*done, strict=True)
        best = np.maximum.accumulate(values) if higher_is_better else np.minimum.accumulate(values)
        panel.plot(numbers, values, "o", color=DONE, label="trial")
        ends = [*numbers, max(row["trial"] for row in table)]
        panel.step(ends, [*best, best[-1]], where="post", color="C1", label="best so far")
    panel.set_xlabel("trial")
    panel.set_ylabel(label)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend()
    return figure


def slices(
    table: Sequence[dict[str, Any]], distributions: dict[str, BaseDistribution], label: str
) -> Figure:
    """The value over each field that was searched."""
    columns = min(COLUMNS, len(distributions))
    lines = -(-len(distributions) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.2 * lines), dpi=100, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel, (name, distribution) in zip(panels, distributions.items(), strict=False):
        _slice(panel, table, name, distribution)
    for panel in panels[len(distributions) :]:
        panel.set_axis_off()
    for panel in panels[::columns]:
        panel.set_ylabel(label)
    return figure


def _slice(panel, table, name, distribution) -> None:
    choices = getattr(distribution, "choices", None)
    for complete, marker, color in ((False, "x", STOPPED), (True, "o", DONE)):
        shown = [r for r in _valued(table) if (r["state"] == "complete") == complete]
        x = [choices.index(r[name]) if choices else r[name] for r in shown]
        panel.plot(x, [r["value"] for r in shown], marker, color=color)
    if isinstance(distribution, CategoricalDistribution):
        panel.set_xticks(range(len(choices)), [str(c) for c in choices], rotation=20)
        panel.set_xlim(-0.5, len(choices) - 0.5)
    elif distribution.log:
        panel.set_xscale("log")
    panel.set_title(name, fontsize=9)
    panel.grid(alpha=0.3)


def importance(study: optuna.Study) -> Figure | None:
    """How much of the difference between good and bad trials each field makes (PED-ANOVA).

    None where too few trials were run to their end, or nothing differed.
    """
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < IMPORTANT_FROM or len({t.value for t in done}) == 1:
        return None
    shares = optuna.importance.get_param_importances(study)
    figure, panel = _figure(7, 0.9 + 0.4 * len(shares))
    names = list(shares)[::-1]
    panel.barh(names, [shares[name] for name in names], color=DONE)
    panel.set_xlim(0, 1)
    panel.set_xlabel(f"importance, of {len(done)} trials")
    return figure


def write(
    folder: Path,
    study: optuna.Study,
    table: Sequence[dict[str, Any]],
    distributions: dict[str, BaseDistribution],
    label: str,
) -> list[str]:
    """Draws all into a folder; the names of the files."""
    higher = study.direction == optuna.study.StudyDirection.MAXIMIZE
    drawn = {
        "history": history(table, label, higher),
        "slices": slices(table, distributions, label),
        "importance": importance(study),
    }
    folder.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        if figure is not None:
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(folder / f"{name}.png")
    return [f"{name}.png" for name, figure in drawn.items() if figure is not None]


def _valued(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in table if row["value"] is not None and np.isfinite(row["value"])]


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    panel = figure.subplots()
    panel.grid(alpha=0.3)
    return figure, panel
