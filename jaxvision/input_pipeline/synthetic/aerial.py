"""Built-in data for building footprints: procedural aerial photos with exact roof masks.

A scene is a street plan (a grid, straight or bent, at any angle) with lots along the streets, seen
straight from above at about .5 m a pixel under one sun. The mask is the visible roof: shadows are
not building, and neither is the part of a roof that a tree crown hides. With names of CLASSES in
`data.classes` it tells roadways and trees too. A larger image shows more ground, not larger houses.
"""

import functools
import math
import random
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import SPLITS, Dataset, Split, fingerprint
from jaxvision.input_pipeline.synthetic import aerial_lots as lots
from jaxvision.input_pipeline.synthetic import aerial_parts as parts
from jaxvision.input_pipeline.synthetic import aerial_roofs as roofs
from jaxvision.input_pipeline.synthetic.aerial_parts import SUPERSAMPLE, Canvas, Pose, box

# Part of the fingerprint: raise it with every change of what `render` returns.
VERSION = 7
CLASSES = ("background", "building", "road", "tree")  # that scenes have
WALK = 7.0  # verge and walk between a roadway and the lots, pixels
LEAVES = ((66, 84, 50), (74, 88, 56), (58, 76, 54), (88, 92, 56))
# How common the uses of `lots.LOTS` are, by district.
DISTRICTS = (
    {"residence": 9, "block": 0.6, "terrace": 0.2, "store": 0.4, "open": 0.8},
    {"residence": 9, "block": 0.6, "terrace": 0.4, "store": 0.4, "open": 0.8},
    {"residence": 4, "block": 3, "terrace": 2.5, "store": 1, "open": 1},
    {"residence": 5, "block": 2, "terrace": 2, "store": 1.5, "open": 1},
    {"residence": 5, "block": 0.3, "terrace": 0.3, "store": 0.5, "open": 3},
)


class Streets(NamedTuple):
    """A street plan: streets run along u at each of `rows`, cross streets along v at `columns`.

    Attributes:
      pose: of the plan on the image; (u, v) = (0, 0) is the image's centre.
      bend, period: the streets swing by `bend` pixels in v, once in `period` pixels of u.
      half: half the width of a roadway.
    """

    pose: Pose
    bend: float
    period: float
    half: float
    rows: list[float]
    columns: list[float]

    def swing(self, u: float) -> float:
        """How far in v the streets have swung at u."""
        return self.bend * math.sin(math.tau * u / self.period)

    def at(self, u: float, v: float) -> Pose:
        """The pose on the image of a thing aligned to the street at (u, v)."""
        slope = self.bend * math.tau / self.period * math.cos(math.tau * u / self.period)
        return self.pose.at(u, v + self.swing(u), math.atan(slope))

    def ribbon(self, u0: float, u1: float, v0: float, v1: float) -> list[parts.Point]:
        """The outline, in canvas coordinates, of what lies between two v along a street."""
        count = 2 + int((u1 - u0) / 12) if self.bend else 2
        us = [u0 + (u1 - u0) * i / (count - 1) for i in range(count)]
        edge = [(u, v0 + self.swing(u)) for u in us]
        return self.pose.trace(edge + [(u, v1 + self.swing(u)) for u in reversed(us)])


def smooth_noise(rng: np.random.Generator, n: int, cell: float) -> np.ndarray:
    """float32 [n, n], zero mean, about unit variance, smooth over `cell` pixels."""
    coarse = rng.standard_normal((int(n / cell) + 3,) * 2, dtype=np.float32)
    region = (0.5, 0.5, 0.5 + n / cell, 0.5 + n / cell)
    return np.asarray(Image.fromarray(coarse).resize((n, n), Image.Resampling.BICUBIC, region))


def ground(rng: random.Random, pixels: np.random.Generator, size: int) -> Image.Image:
    """The canvas before anything stands on it: two kinds of grass and some soil, blended."""
    n = -(-size // 4)
    grass, dry = rng.sample(lots.LAWN_COLORS, 2)
    colors = np.array([(*grass, parts.LAWN), (*dry, parts.LAWN)], np.float32)
    soil = np.array((*rng.choice(lots.SOIL_COLORS), parts.SOIL), np.float32)
    mix = 0.5 + 0.4 * smooth_noise(pixels, n, 14) + 0.2 * smooth_noise(pixels, n, 4)
    bare = 0.8 * smooth_noise(pixels, n, 10) + 0.4 * smooth_noise(pixels, n, 3) - 0.9
    mix, bare = np.clip(mix, 0, 1)[..., None], np.clip(bare, 0, 1)[..., None]
    layer = (colors[0] * (1 - mix) + colors[1] * mix) * (1 - bare) + soil * bare  # [n, n, 4]
    image = Image.frombytes("CMYK", (n, n), layer.astype(np.uint8).tobytes())
    return image.resize((size * SUPERSAMPLE,) * 2, Image.Resampling.BILINEAR)


def plan_streets(rng: random.Random, size: int) -> Streets:
    """Draws a street plan that covers the image."""
    half, depth = rng.uniform(6.5, 9), rng.uniform(42, 52)
    reach = 0.72 * size + 90
    spacing = 2 * (depth + half + WALK)
    rows = [-reach + rng.uniform(0, spacing)]
    while rows[-1] < reach:
        rows.append(rows[-1] + spacing)
    columns = [-reach - rng.uniform(0, 260)]
    while columns[-1] < reach:
        columns.append(columns[-1] + rng.uniform(170, 330))
    bend = rng.choice((0.0, rng.uniform(8, 22)))
    period = rng.uniform(230, 420)
    pose = Pose(size / 2, size / 2, rng.uniform(0, math.tau))
    return Streets(pose, bend, period, half, [rows[0] - spacing, *rows], columns)


def draw_streets(canvas: Canvas, streets: Streets) -> None:
    """Draws walks, roadways, lane marks, crossings and the cars on the roadways."""
    rng, half = canvas.rng, streets.half
    u0, u1 = streets.columns[0], streets.columns[-1]
    v0, v1 = streets.rows[0], streets.rows[-1]
    verge = parts.vary(rng, rng.choice(lots.LAWN_COLORS))
    gray = parts.vary(rng, rng.choice((lots.ASPHALT, (116, 114, 112), (82, 83, 88))), 0.07)
    walk = parts.vary(rng, lots.CONCRETE)
    layers = ((half + WALK, verge, parts.LAWN), (half + 5, walk, parts.PAVING))
    for wide, color, grain in (*layers, (half, gray, parts.PAVING)):
        fill = parts.ink(color, grain)
        outlines = [streets.ribbon(u0, u1, v - wide, v + wide) for v in streets.rows]
        for u in streets.columns:
            outlines.append(streets.pose.trace(box(u - wide, v0 - 50, u + wide, v1 + 50)))
        for outline in outlines:
            canvas.color.polygon(outline, fill)
            if wide == half and canvas.roadways:
                canvas.roadways.polygon(outline, 255)
    dash = rng.choice((0, 9, 14))
    paint = parts.ink(rng.choice((lots.PAINT, lots.PAINT, (186, 160, 92))), parts.PAVING, 0.95)
    for v in streets.rows:
        for left, right in zip(streets.columns, streets.columns[1:], strict=False):
            draw_roadway(canvas, streets, (left + half, right - half, v), dash, paint)


def draw_roadway(canvas: Canvas, streets: Streets, stretch: tuple, dash: float, paint: tuple):
    """Marks and cars between two cross streets; `stretch` is (u0, u1, v), dash 0 for no marks."""
    rng, half, (u0, u1, v) = canvas.rng, streets.half, stretch
    busy = rng.uniform(0, 0.55)
    for i in range(int((u1 - u0 - 24) / 13)):
        u = u0 + 14 + 13 * i
        place = streets.at(u, v)
        if not parts.on_image(canvas, place.x, place.y, 12):
            continue
        if dash:
            canvas.color.line(place.trace([(0, 0), (dash / 2, 0)]), paint, 1)
        for side in (-1, 1):
            if rng.random() < busy:
                parts.draw_car(canvas, place.at(rng.uniform(-1, 1), side * (half - 2.6)))
            if rng.random() < 0.07:
                tree = place.at(0, side * (half + WALK - 1))
                canvas.trees.append((tree.x, tree.y, rng.uniform(3, 6.5)))
    if dash:
        for u in (u0 + 4, u1 - 8):
            place = streets.at(u, v)
            for k in range(int(half)):
                stripe = box(0, -half + 1 + 2 * k, 4, -half + 2 + 2 * k)
                canvas.color.polygon(place.trace(stripe), parts.ink(lots.PAINT, parts.PAVING))


def fill_lots(canvas: Canvas, streets: Streets) -> None:
    """Lines both sides of every street with lots; lots meet back to back between two streets."""
    rng, margin = canvas.rng, streets.half + WALK
    district = rng.choice(DISTRICTS)
    for top, bottom in zip(streets.rows, streets.rows[1:], strict=False):
        depth = (bottom - top) / 2 - margin
        for left, right in zip(streets.columns, streets.columns[1:], strict=False):
            for v, turn in ((top + margin + depth / 2, 0), (bottom - margin - depth / 2, math.pi)):
                u = left + margin + rng.uniform(0, 8)
                while u < right - margin - 36:
                    use = rng.choices(list(district), list(district.values()))[0]
                    draw, least, most = lots.LOTS[use]
                    width, rest = rng.uniform(least, most), right - margin - u
                    if rest < width + 34:  # Too little for one more lot of any use.
                        width = rest / 2 if rest > 68 else rest
                    place = streets.at(u + width / 2, v).at(0, 0, turn)
                    u += width
                    if parts.on_image(canvas, place.x, place.y, 50):
                        draw(canvas, place, width, depth)


def cast_sun(rng: random.Random) -> parts.Sun:
    """A sun 32 to 62 degrees high, from any side."""
    height, side = math.radians(rng.uniform(32, 62)), rng.uniform(0, math.tau)
    across, up = math.cos(height), math.sin(height)
    to = (across * math.cos(side), across * math.sin(side), up)
    return parts.Sun(to, (-to[0] / up, -to[1] / up))


def finish(
    rng: random.Random, pixels: np.random.Generator, color: Image.Image, shade: Image.Image
) -> np.ndarray:
    """Adds grain, shade, exposure, haze, blur and sensor noise; returns uint8 [S, S, 3]."""
    size = color.size[0] // SUPERSAMPLE
    layers = np.asarray(color.reduce(SUPERSAMPLE), np.float32)  # [S, S, 4]
    dark = np.asarray(shade.reduce(SUPERSAMPLE), np.float32) / 255  # [S, S]
    grain = 0.75 * smooth_noise(pixels, size, 1.6) + 0.5 * smooth_noise(pixels, size, 4)
    grain += 0.5 * smooth_noise(pixels, size, 13)
    light = (1 + grain * layers[..., 3] * (1 / 255)) * (1 - rng.uniform(0.5, 0.72) * dark)
    saturation, gain = rng.uniform(0.85, 1.15), rng.uniform(0.82, 1.14)
    cast = np.array([gain * (1 + rng.gauss(0, 0.02)) for _ in range(3)])
    develop = np.zeros((4, 3))  # The fourth channel, the grain, is no color.
    develop[:3] = ((1 - saturation) / 3 + saturation * np.eye(3)) * cast
    image = layers @ develop.astype(np.float32)  # [S, S, 3]
    image *= light[..., None]
    # Shade is lit by the sky alone, so it is bluer.
    image[..., 0] *= 1 - 0.05 * dark
    image[..., 2] *= 1 + 0.09 * dark
    image += rng.uniform(0, 22)
    image = Image.fromarray(np.clip(image, 0, 255, out=image).astype(np.uint8))
    image = np.asarray(image.filter(ImageFilter.BoxBlur(rng.uniform(0.1, 0.5))), np.float32)
    noise = pixels.standard_normal((size, size, 1), np.float32) * rng.uniform(1, 3.5)
    image = image + noise
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def render(
    seed: int, index: int, size: int, classes: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
      seed, index: name the scene; the image depends on them and on `size` alone.
      size: side of the image, pixels of about .5 m.
      classes: of the mask, some of CLASSES, 'background' among them; (): the roof alone.

    Returns:
      image: uint8 [size, size, 3].
      mask: uint8 [size, size], 1 where at least half of the pixel is visible roof, else 0; or the
        number of the class that at least half of the pixel is.
    """
    rng = random.Random(f"aerial {seed} {index} {size}")
    pixels = np.random.default_rng(rng.getrandbits(64))
    color = ground(rng, pixels, size)
    shade, mask = (Image.new("L", color.size) for _ in range(2))
    draws = (ImageDraw.Draw(layer) for layer in (color, shade, mask))
    more = [Image.new("L", color.size) for _ in range(2)] if classes else []
    layers = dict(zip(("roadways", "crowns"), map(ImageDraw.Draw, more), strict=False))
    canvas = Canvas(rng, cast_sun(rng), size, *draws, roofs=[], trees=[], **layers)
    streets = plan_streets(rng, size)
    draw_streets(canvas, streets)
    fill_lots(canvas, streets)
    roofs.draw_roofs(canvas)
    parts.draw_trees(canvas, mask, rng.choice(LEAVES))
    roof, *others = (np.asarray(layer.reduce(SUPERSAMPLE)) >= 128 for layer in (mask, *more))
    labels = roof.astype(np.uint8)
    if classes:
        labels[:] = classes.index("background")
        for name, where in zip(CLASSES[1:], (roof, *others), strict=True):
            labels[where] = classes.index(name if name in classes else "background")
    return finish(rng, pixels, color, shade), labels


def read_scene(
    i: int, *, seed: int, first: int, size: int, classes: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Row i of a split whose scenes start at index `first`."""
    image, mask = render(seed, first + i, size, classes)
    return {"image": image, "mask": mask}


def load(config) -> Dataset:
    """The synthetic data set of `config`, drawn when read.

    Args:
      config: with `seed`, `data.image_size` (tile side, pixels) and `data.synthetic_examples`
        (how many scenes in `train`, `val` and `test`; a split of 0 is left out), and
        `data.classes`.

    Raises:
      UserError: `data.classes` names what scenes do not have.
    """
    classes = _classes(config.data.get("classes", ()))
    seed, size, examples = config.seed, config.data.image_size, config.data.synthetic_examples
    counts = {split: int(examples[split]) for split in SPLITS}
    # Training scenes come last, so that more of them leave validation and test as they were.
    starts = {"val": 0, "test": counts["val"], "train": counts["val"] + counts["test"]}
    splits = {}
    for split, count in counts.items():
        first = starts[split]
        read = functools.partial(read_scene, seed=seed, first=first, size=size, **classes)
        names = [f"scene_{first + i:05d}" for i in range(count)]
        if count:
            splits[split] = Split(names, read, count)
    source = "built-in synthetic aerial scenes (no data.path given)"
    parts = ["synthetic aerial", VERSION, seed, size, *counts.values(), *classes.values()]
    info = {name: list(names) for name, names in classes.items()}
    return Dataset(source, splits, (), info, fingerprint(parts))


def _classes(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """{'classes': names} where there are several, else {}."""
    if len(names) < 2:
        return {}
    if "background" not in names or not {*names} <= {*CLASSES}:
        raise UserError(
            f"data.classes={tuple(names)}: built-in scenes have {', '.join(CLASSES)}: name "
            "'background' and some of the others, or set data.path to your own data"
        )
    return {"classes": tuple(names)}
