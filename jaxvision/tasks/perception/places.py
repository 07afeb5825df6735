"""Scores on a map: a picture, and a page that works without a network."""

import json
from collections.abc import Sequence
from importlib import resources

import numpy as np

MAP_COLUMNS = 4  # panels side by side


def draw_map(places: np.ndarray, scores: np.ndarray, attributes: Sequence[str]) -> np.ndarray:
    """Points coloured by score, one panel an attribute: uint8 [H, W, 3].

    Places that lie far apart (cities) get rows of their own, the largest three.

    Args:
      places: float [N, 2], latitude and longitude in degrees; rows with NaN are left out.
      scores: float [N, A] on [1, 10].
      attributes: names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = np.isfinite(places).all(axis=1)
    places, scores = places[known], scores[known]
    groups = group_places(places)[:3]
    low, high = colour_limits(scores)
    columns = min(len(attributes), MAP_COLUMNS)
    lines = -(-len(attributes) // columns)  # of panels, for each group
    size = (3.0 * columns + 0.8, 2.8 * lines * len(groups))
    figure = Figure(figsize=size, dpi=90, layout="constrained")
    panels = figure.subplots(lines * len(groups), columns, squeeze=False)
    for group, rows in zip(groups, np.split(panels, len(groups)), strict=True):
        for panel in rows.flat[len(attributes) :]:
            panel.axis("off")
        for a, (panel, name) in enumerate(zip(rows.flat, attributes, strict=False)):
            latitude, longitude = places[group].T
            points = panel.scatter(
                longitude, latitude, c=scores[group, a], s=9, cmap="viridis", vmin=low, vmax=high
            )
            # A degree of longitude is shorter than one of latitude.
            panel.set_aspect(1 / max(np.cos(np.radians(latitude.mean())), 0.05), "datalim")
            panel.set_title(name, fontsize=9)
            panel.tick_params(labelsize=6)
            panel.ticklabel_format(useOffset=False)
    figure.colorbar(points, ax=panels, label="score", shrink=0.8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def colour_limits(scores: np.ndarray) -> tuple[float, float]:
    """The scores at the ends of the colours: all but the outermost 2 % lie between them."""
    low, high = np.percentile(scores, (2, 98))
    return float(low), float(max(high, low + 0.1))


def group_places(places: np.ndarray, gap: float = 1.0) -> list[np.ndarray]:
    """Indices of places in the same cells of `gap` degrees or cells that touch, largest first."""
    cells = np.floor(places / gap).astype(int)
    groups = []
    waiting = {
        tuple(cell): np.flatnonzero((cells == cell).all(1)) for cell in np.unique(cells, axis=0)
    }
    while waiting:
        cell = next(iter(waiting))
        edge, members = [cell], []
        while edge:
            y, x = edge.pop()
            near = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            for other in near:
                if other in waiting:
                    members.append(waiting.pop(other))
                    edge.append(other)
        groups.append(np.concatenate(members))
    return sorted(groups, key=len, reverse=True)


def map_page(
    names: Sequence[str],
    places: np.ndarray,
    scores: np.ndarray,
    attributes: Sequence[str],
    tiles: str = "",
) -> str:
    """A page that shows the points, to be dragged and zoomed: HTML with everything in it.

    Args:
      names: of the photos.
      places: float [N, 2], latitude and longitude in degrees.
      scores: float [N, A] on [1, 10].
      attributes: names.
      tiles: address of map tiles with {z}, {x} and {y}, which the page then fetches; '': none.
    """
    data = {
        "attributes": list(attributes),
        "tiles": tiles,
        "limits": np.round(colour_limits(scores), 2).tolist(),
        "points": [
            [name, round(float(place[0]), 6), round(float(place[1]), 6), *np.round(row, 2).tolist()]
            for name, place, row in zip(names, places, scores, strict=True)
        ],
    }
    # A name must not be able to end the script that holds it.
    text = json.dumps(data).replace("<", "\\u003c")
    page = (
        resources.files("jaxvision.tasks.perception")
        .joinpath("map.html")
        .read_text(encoding="utf-8")
    )
    return page.replace("/*DATA*/null", text)
