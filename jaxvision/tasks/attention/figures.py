"""Pictures of a rollout: where the retina was put, what it saw, what became of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxvision.models.retina import Retina, corner_pixels, look_at_image

PANEL = 96  # least side of a panel, pixels
GAP, HEADER, MARGIN = 4, 32, 84  # HEADER: a line for the title, one for the columns
# One a patch, from the sharpest out; told apart with any colour vision.
COLOURS = ((255, 80, 0), (0, 170, 255), (240, 220, 0), (200, 0, 160), (0, 150, 110))
LEGIBLE = 480  # least longer side of a picture with writing on it, pixels
UNSEEN = 96  # gray of what no glimpse has shown


class View(NamedTuple):
    """One image's rollout, on the host.

    Attributes:
      image: uint8 [H, W, C].
      locations: [T, 2].
      reconstructions: float [T + 1, H, W, C]; None where the head is a classifier.
      title: what it is and what was predicted.
    """

    image: np.ndarray
    locations: np.ndarray
    reconstructions: np.ndarray | None
    title: str


def glimpse_rows(views: Sequence[View], retina: Retina) -> np.ndarray:
    """For each image a block of rows, a column a glimpse: uint8 [H', W', 3].

    Rows: the image with the squares of the retina, what each square shows, and the reconstruction
    so far where there is one.
    """
    return np.concatenate([_block(view, retina) for view in views])


def _block(view: View, retina: Retina) -> np.ndarray:
    patches = look_at_image(retina, view.image, view.locations)  # [T, patches, size, size, C]
    steps = len(patches)
    rows = [("image", [_boxes(view, retina, t) for t in range(steps)])]
    for square, side in enumerate(retina.sides):
        rows.append((f"{side} x {side}", [_gray(patches[t, square]) for t in range(steps)]))
    if view.reconstructions is not None:
        rows.append(("reconstruction", [_gray(r) for r in view.reconstructions[1:]]))
    side = max(PANEL, len(view.image))
    width = MARGIN + steps * (side + GAP)
    canvas = Image.new("RGB", (width, HEADER + len(rows) * (side + GAP) + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    draw.text((2, 2), view.title, fill=(0, 0, 0))
    for t in range(steps):
        left, top = MARGIN + t * (side + GAP) + 2, HEADER // 2 + 2
        draw.text((left, top), f"glimpse {t + 1}", fill=(0, 0, 0))
    for y, (name, panels) in enumerate(rows):
        top = HEADER + y * (side + GAP)
        draw.text((2, top + side // 2 - 6), name, fill=_row_colour(name, retina))
        for t, panel in enumerate(panels):
            canvas.paste(_enlarged(panel, side), (MARGIN + t * (side + GAP), top))
    return np.asarray(canvas)


def _row_colour(name, retina):
    sides = [f"{side} x {side}" for side in retina.sides]
    colour = COLOURS[sides.index(name) % len(COLOURS)] if name in sides else (0, 0, 0)
    return tuple(int(0.75 * channel) for channel in colour)


def film(views: Sequence[View], retina: Retina) -> np.ndarray:
    """A frame a glimpse, the last one held: uint8 [frames, H', W', 3].

    A row an image: where the retina is, what it has shown so far, each pixel at its sharpest, and
    the reconstruction.
    """
    steps = len(views[0].locations)
    seen = [_seen_so_far(view, retina) for view in views]
    frames = []
    for t in range(steps):
        rows = []
        for view, shown in zip(views, seen, strict=True):
            side = max(2 * PANEL, len(view.image))
            panels = [_boxes(view, retina, t), shown[t]]
            if view.reconstructions is not None:
                panels.append(_gray(view.reconstructions[t + 1]))
            rows.append(_beside([np.asarray(_enlarged(p, side)) for p in panels]))
        frames.append(np.concatenate(rows))
    return np.stack([*frames, *[frames[-1]] * 2])


def _beside(panels):
    height = panels[0].shape[0]
    gap = np.full((height, GAP, 3), 255, np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    return np.concatenate([row, np.full((GAP, row.shape[1], 3), 255, np.uint8)])


def _boxes(view, retina, t):
    """The image, enlarged, with the squares of glimpse t and the way there."""
    side = max(PANEL, len(view.image))
    factor = side / len(view.image)
    panel = _enlarged(_gray(view.image / np.float32(255)), side)
    draw = ImageDraw.Draw(panel)
    centres = corner_pixels(view.locations[: t + 1], *view.image.shape[:2])
    path = [(x * factor, y * factor) for y, x in centres]
    if len(path) > 1:
        draw.line(path, fill=(150, 150, 150))
    row, column = centres[-1]
    for i, s in reversed(list(enumerate(retina.sides))):
        top, left = row - s // 2, column - s // 2
        corners = (left * factor, top * factor, (left + s) * factor - 1, (top + s) * factor - 1)
        draw.rectangle(corners, outline=COLOURS[i % len(COLOURS)], width=1 + (i == 0))
    return np.asarray(panel)


def _seen_so_far(view, retina):
    """The image as the glimpses up to each showed it: list of uint8 [H, W, 3]."""
    height, width, channels = view.image.shape
    patches = look_at_image(retina, view.image, view.locations)
    corners = corner_pixels(view.locations, height, width)
    reach = retina.sides[-1]
    shown = np.full((height + 2 * reach, width + 2 * reach, channels), UNSEEN / 255, np.float32)
    blur = np.full(shown.shape[:2], len(retina.sides))  # number of the sharpest square so far
    frames = []
    for (row, column), squares in zip(corners, patches, strict=True):
        for i, side in enumerate(retina.sides):
            top, left = row - side // 2 + reach, column - side // 2 + reach
            where = (slice(top, top + side), slice(left, left + side))
            ratio = side // retina.size
            square = squares[i].repeat(ratio, 0).repeat(ratio, 1)
            sharper = blur[where] > i
            shown[where] = np.where(sharper[..., None], square, shown[where])
            blur[where] = np.minimum(blur[where], i)
        frames.append(_gray(shown[reach : reach + height, reach : reach + width]))
    return frames


def _gray(pixels):
    """float [H, W, 1 or 3] in [0, 1] -> uint8 [H, W, 3]."""
    image = (np.clip(np.asarray(pixels, np.float32), 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _enlarged(panel, side):
    """uint8 [H, W, 3] -> a square picture of `side` pixels, every pixel of it still a square."""
    return Image.fromarray(panel).resize((side, side), Image.Resampling.NEAREST)


def draw_glimpses(picture: np.ndarray, glimpses: Sequence[dict], title: str) -> np.ndarray:
    """A picture with numbered glimpses on it, the way between them, and a title.

    Args:
      picture: uint8 [H, W, 3].
      glimpses: each with x, y and sides, pixels of the picture.
      title: what was predicted.

    Returns:
      uint8 [H', W', 3]; small pictures are enlarged by a whole factor.
    """
    factor = max(1, -(-LEGIBLE // max(picture.shape[:2])))
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    panel = Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(size=max(12, max(size) // 30))
    path = [(glimpse["x"] * factor, glimpse["y"] * factor) for glimpse in glimpses]
    if len(path) > 1:
        draw.line(path, fill=COLOURS[0], width=max(1, max(size) // 300))
    for number, ((x, y), glimpse) in enumerate(zip(path, glimpses, strict=True), start=1):
        half = glimpse["sides"][0] * factor / 2
        draw.rectangle((x - half, y - half, x + half, y + half), outline=COLOURS[0], width=2)
        draw.text((x - half + 3, y - half), str(number), fill=(255, 255, 255), font=font,
                  stroke_width=2, stroke_fill=(0, 0, 0))  # fmt: skip
    draw.text((4, 2), title, fill=(255, 255, 255), font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(panel)


def beside_reconstruction(picture: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """A picture, and beside it, as high, the reconstruction, uint8 [h, w, C]: uint8 [H, W', 3]."""
    side = picture.shape[0]
    return _beside([picture, np.asarray(_enlarged(_gray(reconstruction / np.float32(255)), side))])


def heat_maps(locations: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """How often the retina's middle was where, a panel a class.

    Args:
      locations: [N, T, 2] of N images.
      labels: [N], numbers of their classes.
      classes: names.

    Returns:
      uint8 [H', W', 3].
    """
    columns = min(5, len(classes))
    rows = -(-len(classes) // columns)
    figure, panels = _panels(rows, columns, 2.0)
    maps = [_density(locations[labels == number]) for number in range(len(classes))]
    brightest = max(max(density.max() for density in maps), 1e-9)
    for panel, density, name in zip(panels, maps, classes, strict=False):
        panel.imshow(density, extent=(-1, 1, 1, -1), vmin=0, vmax=brightest, cmap="inferno")
        panel.set_title(name, fontsize=9)
    for panel in panels:
        panel.set_axis_off()
    return _pixels(figure)


def _density(locations):
    """The share of glimpses in each of 28 x 28 cells, [row, column]."""
    x, y = locations.reshape(-1, 2).T
    edges = np.linspace(-1, 1, 29)
    counts = np.histogram2d(y, x, bins=(edges, edges))[0]
    return counts / max(counts.sum(), 1)


def psnr_curves(curves: dict[str, np.ndarray]) -> np.ndarray:
    """PSNR after each glimpse, a line a policy: uint8 [H', W', 3].

    Args:
      curves: {policy: [T + 1]} in dB; 'own' is the model's.
    """
    figure, (panel,) = _panels(1, 1, 4.5)
    for name, values in curves.items():
        style = {"own": "-", "random": "--", "centre": ":", "grid": "-."}.get(name, "-")
        panel.plot(range(len(values)), values, style, marker=".", label=name)
    own, random = curves["own"][-1], curves["random"][-1]
    verdict = "beats" if own > random else "does not beat"
    panel.set_title(f"own policy {verdict} random: {own:.2f} dB, {random:.2f} dB", fontsize=9)
    panel.set_xlabel("glimpses")
    panel.set_ylabel("PSNR (dB)")
    panel.grid(alpha=0.3)
    panel.legend()
    return _pixels(figure)


def _panels(rows, columns, side):
    from matplotlib.figure import Figure

    size = (columns * side, rows * (side + 0.2))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
