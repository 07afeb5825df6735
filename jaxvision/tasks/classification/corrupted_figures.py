"""Figures of what a webcam's corruptions do: to accuracy, and to a few faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvision.tasks.classification.figures import new_figure, to_picture


def curves(table: Sequence[dict[str, Any]], strengths: Sequence[str]) -> np.ndarray:
    """Accuracy by corruption and strength, uint8 [H, W, 3].

    Args:
      table: of `robustness.by_corruption`: the first row is of the pictures as they are.
      strengths: its columns, from mild to strong.
    """
    figure = new_figure((7.0, 4.0))
    panel = figure.subplots()
    clean, *corrupted, mean = table
    places = range(len(strengths) + 1)
    for row, marker in zip(corrupted, "os^vDP", strict=True):
        values = [clean["mean"], *(row[s] for s in strengths)]
        panel.plot(places, values, marker=marker, label=row["corruption"])
    values = [clean["mean"], *(mean[s] for s in strengths)]
    panel.plot(places, values, color="black", linewidth=2, linestyle="--", label="mean")
    panel.set_xticks(places, ["as it is", *strengths])
    panel.set_ylabel("accuracy")
    panel.set_ylim(0, None)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    return to_picture(figure)


def examples(
    shown: Mapping[tuple[str, str], tuple[Sequence[np.ndarray], Sequence[str]]],
    truths: Sequence[str],
) -> np.ndarray:
    """A row a corruption, a block of columns a face: uint8 [H, W, 3].

    Args:
      shown: {(corruption, strength): (a picture a face, uint8 [S, S, C], the model's answers)}, a
        column a strength in the order in which they first come.
      truths: the label of each face.
    """
    names, strengths = (list(dict.fromkeys(pair[i] for pair in shown)) for i in (0, 1))
    columns = len(truths) * len(strengths)
    figure = new_figure((1.25 * columns + 0.6, 1.5 * len(names) + 0.4))
    panels = figure.subplots(len(names), columns, squeeze=False)
    for (name, strength), (pictures, answers) in shown.items():
        for face, (picture, answer) in enumerate(zip(pictures, answers, strict=True)):
            line, column = names.index(name), strengths.index(strength)
            panel = panels[line][face * len(strengths) + column]
            panel.imshow(np.broadcast_to(picture, (*picture.shape[:2], 3)))
            colour = "black" if answer == truths[face] else "#b00060"
            panel.set_title(answer, fontsize=8, color=colour, pad=2)
            panel.set(xticks=[], yticks=[])
            if face == column == 0:
                panel.set_ylabel(name, fontsize=9)
            if line == len(names) - 1:
                panel.set_xlabel(strength, fontsize=8)
    told = ", ".join(f"the {truth} one" for truth in truths)
    figure.suptitle(f"what the model says of {told}; wrong answers in red", fontsize=9)
    return to_picture(figure)
