"""Pictures of predicted scores."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxvision.input_pipeline import score_scale

PANEL = 168  # side of a photo in a grid, pixels
TRUE, PREDICTED = (90, 90, 96), (214, 108, 30)
CARD, NAMES, BARS, LINE = 384, 104, 150, 28  # pixels: a photo, names, bars, a line of text
POINTS = 4000  # of a scatter plot; more only hide each other


def score_bars(
    attributes: Sequence[str], target: np.ndarray, score: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Bars on the scale from 1 to 10, with a line a spread long to either side of a prediction."""
    picture = Image.new("RGB", (PANEL, PANEL), (255, 255, 255))
    draw, left = ImageDraw.Draw(picture), 84
    height = PANEL / len(attributes)

    def across(value):
        return left + (PANEL - left - 6) * float(np.clip((value - 1) / 9, 0, 1))

    for a, name in enumerate(attributes):
        top = a * height
        draw.text((2, top + height / 2 - 6), name[:13], fill=(0, 0, 0))
        if np.isfinite(target[a]):
            draw.rectangle((left, top + 2, across(target[a]), top + height / 2 - 1), fill=TRUE)
        middle = top + 0.75 * height - 1
        draw.rectangle((left, top + height / 2, across(score[a]), top + height - 3), fill=PREDICTED)
        ends = (across(score[a] - spread[a]), middle, across(score[a] + spread[a]), middle)
        draw.line(ends, fill=(60, 20, 0))
    return np.asarray(picture)


def score_card(
    photo: np.ndarray, attributes: Sequence[str], score: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """A photo beside the bars and values of its scores: uint8 [H, W, 3].

    Args:
      photo: uint8 [H, W, 3]; brought to CARD pixels on its longer side.
      attributes: names, A of them.
      score, spread: float [A] on [1, 10].
    """
    factor = CARD / max(photo.shape[:2])
    size = [max(1, round(side * factor)) for side in photo.shape[1::-1]]
    image = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)
    height = max(image.height, LINE * len(attributes) + 8)
    left = image.width + 12  # of the names
    bar, values = left + NAMES, left + NAMES + BARS + 10
    canvas = Image.new("RGB", (values + 90, height), (255, 255, 255))
    canvas.paste(image, (0, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)

    def across(value):
        return bar + BARS * float(np.clip((value - 1) / 9, 0, 1))

    for a, name in enumerate(attributes):
        top = 4 + a * LINE
        middle = top + LINE / 2
        draw.text((left, middle), _shortened(name, draw, font), (0, 0, 0), font, anchor="lm")
        draw.rectangle((bar, top + 5, bar + BARS, top + LINE - 5), fill=(236, 236, 240))
        draw.rectangle((bar, top + 5, across(score[a]), top + LINE - 5), fill=PREDICTED)
        ends = across(score[a] - spread[a]), across(score[a] + spread[a])
        draw.line((ends[0], middle, ends[1], middle), fill=(60, 20, 0), width=3)
        text = f"{score[a]:.1f} ± {spread[a]:.1f}"
        draw.text((values, middle), text, (0, 0, 0), font, anchor="lm")
    return np.asarray(canvas)


def _shortened(name: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont) -> str:
    """The name, cut to the room that it has."""
    whole = name
    while len(name) > 1 and draw.textlength(name, font) > NAMES - 8:
        name = name[:-1]
    return name if name == whole else name[:-1] + "."


def scatter(scale: score_scale.Scale, target: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Predicted against true scores of each attribute, with the band of at most one decile off."""
    figure, panels = _panels(len(scale.attributes))
    edges = score_scale.to_target(scale, scale.edges.T).T  # [A, 9]
    if scale.target == "deciles":
        edges = np.tile(np.arange(1.5, 10), (len(scale.attributes), 1))
    for a, (panel, name) in enumerate(zip(panels, scale.attributes, strict=False)):
        known = np.flatnonzero(np.isfinite(target[:, a]))[:POINTS]
        low, high = 0.5, 10.5
        bounds = np.concatenate([[low], edges[a], [high]])
        for i in range(10):  # true in decile i: predictions from decile i - 1 to i + 1
            across, up = bounds[[i, i + 1]], bounds[[max(i - 1, 0), min(i + 2, 10)]]
            panel.fill_between(across, up[0], up[1], color="#2a9d8f", alpha=0.18, linewidth=0)
        panel.plot((low, high), (low, high), color="black", linewidth=0.6)
        panel.scatter(target[known, a], score[known, a], s=6, alpha=0.5, color="#d66c1e")
        panel.set(title=name, xlim=(low, high), ylim=(low, high), aspect="equal")
    figure.supxlabel("true")
    figure.supylabel("predicted (band: within one decile)")
    return _drawn(figure)


def histograms(attributes: Sequence[str], shares: dict[str, list], score: np.ndarray) -> np.ndarray:
    """How the scores of each split and the predictions spread over [1, 10].

    Args:
      attributes: names, A of them.
      shares: {split: A lists of 10}, the share of the split's scores in each tenth of [1, 10].
      score: float [N, A], predictions.
    """
    figure, panels = _panels(len(attributes))
    edges = np.linspace(1, 10, 11)
    for a, (panel, name) in enumerate(zip(panels, attributes, strict=False)):
        for split, rows in shares.items():
            panel.stairs(rows[a], edges, label=split)
        counts, _ = np.histogram(np.clip(score[:, a], 1, 10), edges)
        share = counts / max(len(score), 1)
        panel.stairs(share, edges, fill=True, alpha=0.35, color="#d66c1e", label="predicted")
        panel.set_title(name)
    panels[0].legend(fontsize=7)
    figure.supxlabel("score")
    figure.supylabel("share of photos")
    return _drawn(figure)


def _panels(count: int):
    """A figure and its panels in rows of four; those beyond `count` are hidden."""
    from matplotlib.figure import Figure

    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.9 * columns, 2.9 * rows + 0.3), dpi=90, layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, list(panels)


def _drawn(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
