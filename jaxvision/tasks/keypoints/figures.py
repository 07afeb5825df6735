"""Points and heading arrows on pictures, and a film frame with the trace of the heading."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.tasks.keypoints import heading
from jaxvision.visualize import grid

# One a point, in turn; told apart with any colour vision (Okabe and Ito 2008).
COLOURS = ((230, 80, 30), (240, 228, 66), (86, 180, 233), (0, 158, 115), (204, 121, 167),
           (230, 159, 0), (255, 255, 255), (0, 114, 178))  # fmt: skip
ARROWS = ((255, 60, 60), (255, 200, 0))  # heading, head_direction
TRACE = 60  # frames that the polar trace remembers
SMALLEST = 300  # pixels: smaller pictures are enlarged in films by a whole factor
CROP_SIDE = 240  # pixels that a crop in a figure of several is enlarged to, about


def draw_pose(
    image: np.ndarray,
    points: np.ndarray,
    angles: Sequence[float],
    *,
    zoom: float = 1.0,
    strength: Sequence[float] | None = None,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """A picture, enlarged, with points, and arrows from the points' middle.

    Args:
      image: uint8 [H, W, C].
      points: [K, 2] in pixels of the image; NaN where there is none.
      angles: degrees as `heading` defines them; NaN where there is none.
      zoom: by which the picture is enlarged.
      strength: in [0, 1] for each point: a weak one is drawn smaller.
      truth: [K, 2], drawn as rings around the discs.

    Returns:
      uint8 [zoom * H, zoom * W, 3].
    """
    height, width = (round(side * zoom) for side in image.shape[:2])
    picture = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)).copy())
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    radius = max(2.0, min(height, width) / 80)
    places = (np.asarray(points, float) + 0.5) * zoom - 0.5
    known = places[np.isfinite(places).all(1)]
    if len(known):
        reach = max(4 * radius, 1.2 * float(np.linalg.norm(known - known.mean(0), axis=1).max()))
        for colour, angle in zip(ARROWS, angles, strict=False):
            if np.isfinite(angle):
                _arrow(draw, known.mean(0), angle, reach, colour, round(radius / 1.5))
                reach *= 0.6
    for k, (x, y) in enumerate(places):
        colour = COLOURS[k % len(COLOURS)]
        size = radius * (1.0 if strength is None else 0.4 + 0.6 * float(strength[k]))
        if np.isfinite(x + y):
            draw.ellipse((x - size, y - size, x + size, y + size), colour, (0, 0, 0))
        if truth is not None and np.isfinite(truth[k]).all():
            x, y = (truth[k] + 0.5) * zoom - 0.5
            ring = 2.2 * radius
            draw.ellipse((x - ring, y - ring, x + ring, y + ring), None, colour, 2)
    return np.asarray(picture)


def draw_frame(frame: np.ndarray, points: np.ndarray, angles, strength) -> np.ndarray:
    """A picture or a frame of a film with its pose, as `draw_pose`; small ones are enlarged."""
    zoom = max(1, -(-SMALLEST // max(frame.shape[:2])))
    return draw_pose(frame, points, angles, zoom=zoom, strength=strength)


def predictions_figure(points: np.ndarray, batch: dict, angles) -> np.ndarray:
    """A row for each picture: itself, the truth, and the predicted points with the true as rings.

    Args:
      points: [B, K, 2], predicted.
      batch: with 'image', 'points' and 'visible'.
      angles: of `heading.find_angles`.

    Returns:
      uint8 [H, W, 3].
    """
    degrees = heading.angles_of(points, angles)
    truth = np.where(batch["visible"][..., None] > 0, batch["points"], np.nan)
    true_degrees = heading.angles_of(truth, angles)
    zoom = max(1, round(CROP_SIDE / max(batch["image"].shape[1:3])))
    enlarge = functools.partial(draw_pose, zoom=zoom)
    rows = []
    for i, image in enumerate(batch["image"]):
        rows.append(
            [
                enlarge(image, np.full_like(points[i], np.nan), ()),
                enlarge(image, truth[i], true_degrees[i]),
                enlarge(image, points[i], degrees[i], truth=truth[i]),
            ]
        )
    return grid.image_grid(rows, ("picture", "truth", "prediction; truth as rings"))


def _arrow(draw, start, degrees: float, length: float, colour, width: int) -> None:
    def along(angle, reach, origin):
        radians = np.deg2rad(angle)
        return origin[0] + reach * np.cos(radians), origin[1] - reach * np.sin(radians)

    tip = along(degrees, length, start)
    draw.line((*start, *tip), colour, max(1, width))
    for side in (150, -150):
        draw.line((*tip, *along(degrees + side, length / 4, tip)), colour, max(1, width))


def polar_trace(degrees: Sequence[float], side: int) -> np.ndarray:
    """The last TRACE angles as a spiral: now at the rim, the past towards the middle.

    Args:
      degrees: all angles so far, the present one last; NaN where unknown.
      side: pixels.

    Returns:
      uint8 [side, side, 3].
    """
    picture = Image.fromarray(_dial(side))
    draw = ImageDraw.Draw(picture)
    middle, rim, recent = side / 2, 0.4 * side, np.asarray(list(degrees)[-TRACE:], float)
    ages = np.arange(len(recent))[::-1]
    reach = rim * (1 - 0.9 * ages / TRACE)
    radians = np.deg2rad(recent)
    spots = np.stack([middle + reach * np.cos(radians), middle - reach * np.sin(radians)], 1)
    for (a, b), age in zip(zip(spots, spots[1:], strict=False), ages, strict=False):
        if np.isfinite(a + b).all():
            fade = int(225 * age / TRACE)
            draw.line((*a, *b), (255 - fade // 8, fade, fade), 2)
    if len(recent) and np.isfinite(recent[-1]):
        _arrow(draw, (middle, middle), recent[-1], rim, ARROWS[0], max(2, side // 80))
        draw.text((4, 4), f"{recent[-1]:.0f} deg", fill=(0, 0, 0))
    return np.asarray(picture)


@functools.lru_cache(maxsize=4)
def _dial(side: int) -> np.ndarray:
    picture = Image.new("RGB", (side, side), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    middle, rim = side / 2, 0.4 * side
    for share in (1.0, 0.5):
        box = (
            middle - share * rim,
            middle - share * rim,
            middle + share * rim,
            middle + share * rim,
        )
        draw.ellipse(box, None, (190, 190, 190))
    for degrees, anchor in ((0, "lm"), (90, "mb"), (180, "rm"), (270, "mt")):
        x = middle + 1.04 * rim * np.cos(np.deg2rad(degrees))
        y = middle - 1.04 * rim * np.sin(np.deg2rad(degrees))
        draw.text((x, y), str(degrees), (90, 90, 90), anchor=anchor)
    return np.asarray(picture)


def film_frame(picture: np.ndarray, degrees: Sequence[float]) -> np.ndarray:
    """A drawn picture [H, W, 3] with the trace of the heading beside it."""
    side = picture.shape[0]
    trace = polar_trace(degrees, min(side, 400))
    panel = np.full((side, trace.shape[1], 3), 255, np.uint8)
    panel[: len(trace)] = trace
    return np.concatenate([picture, panel], 1)


def error_figure(
    pixels: np.ndarray, names: Sequence[str], degrees: np.ndarray, angles
) -> np.ndarray:
    """Histograms of pixel errors, a line a point, and of angle errors.

    Args:
      pixels: [N, K], NaN where unknown.
      names: of the points.
      degrees: [N, A].
      angles: names of the angles.

    Returns:
      uint8 [H, W, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for panel, values, labels, unit in (
        (left, pixels, names, "pixels"),
        (right, degrees, angles, "degrees"),
    ):
        known = values[np.isfinite(values)]
        edges = np.linspace(0, max(float(np.percentile(known, 99)), 1e-3), 25) if known.size else 10
        for column, label in zip(values.T, labels, strict=True):
            column = column[np.isfinite(column)]
            mean = f"{column.mean():.2f}" if column.size else "-"
            panel.hist(column, edges, histtype="step", lw=1.6, label=f"{label}: mean {mean}")
        panel.set_xlabel(f"error, {unit}")
        panel.set_ylabel("count")
        if labels:
            panel.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
