"""Built-in data for scene classification: painted views of five kinds of places.

Enough to see that a run works; what tells the kinds apart is colour and layout alone.
"""

import math
import random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxvision.input_pipeline import tfds
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.synthetic.drawn_classes import make_dataset

VERSION = 1  # part of the fingerprint: raise it with every change of what `render` returns
CLASSES = ("beach", "city", "field", "forest", "mountain")
CANVAS = 256  # pixels a side


def load(config: Any) -> Dataset:
    """Views as config.data.synthetic_examples counts them; rows as `labelled.make_dataset`'s.

    Raises:
      UserError: `data.tfds` is set.
    """
    tfds.refuse_without_path(config)
    source = "built-in views of 5 kinds of places (data.path is not set)"
    return make_dataset(config, source, CLASSES, render, ("scenes", VERSION))


def render(rng: random.Random, name: str) -> Image.Image:
    """Paints one view of a kind of place in CLASSES: RGB, CANVAS x CANVAS pixels."""
    sky = _vary(rng, rng.choice(((150, 190, 230), (200, 205, 210), (235, 190, 150))))
    picture = Image.new("RGB", (CANVAS, CANVAS), sky)
    draw, horizon = ImageDraw.Draw(picture), rng.uniform(0.35, 0.6) * CANVAS
    ground = {
        "beach": (60, 120, 160),
        "city": (105, 105, 108),
        "field": (150, 160, 70),
        "forest": (60, 70, 35),
        "mountain": (95, 110, 75),
    }[name]
    draw.rectangle((0, horizon, CANVAS, CANVAS), _vary(rng, ground))
    _PAINT[name](draw, rng, horizon)
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 8, (CANVAS, CANVAS, 1))
    pixels = np.asarray(picture, np.float32) * rng.uniform(0.7, 1.15) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _vary(rng: random.Random, colour: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(255, max(0, c + rng.randrange(-22, 23))) for c in colour)


def _beach(draw, rng, horizon):
    shore = horizon + rng.uniform(0.25, 0.6) * (CANVAS - horizon)
    slope, waves = rng.uniform(-30, 30), rng.randrange(2, 7)
    for i in range(waves):
        y = horizon + (shore - horizon) * (i + 0.5) / waves
        draw.line((0, y, CANVAS, y + slope * i / waves), (200, 215, 225), 2)
    sand = [(0, shore), (CANVAS, shore + slope), (CANVAS, CANVAS), (0, CANVAS)]
    draw.polygon(sand, _vary(rng, (220, 195, 150)))


def _city(draw, rng, horizon):
    x = -10.0
    while x < CANVAS:
        wide, high = rng.uniform(18, 55), rng.uniform(40, 150)
        top, wall = horizon + 20 - high, _vary(rng, rng.choice(((130, 125, 120), (165, 110, 90))))
        draw.rectangle((x, top, x + wide, horizon + 20), wall)
        for y in range(int(top) + 6, int(horizon) + 12, 12):
            for at in range(int(x) + 4, int(x + wide) - 5, 10):
                draw.rectangle((at, y, at + 4, y + 6), rng.choice(((60, 70, 85), (235, 220, 150))))
        x += wide


def _field(draw, rng, horizon):
    vanish, rows = rng.uniform(0, CANVAS), rng.randrange(6, 14)
    for i in range(-rows, 2 * rows):
        foot = i * CANVAS / rows
        line = (vanish, horizon, foot, CANVAS)
        draw.line(line, _vary(rng, (120, 130, 50)), rng.randrange(2, 6))


def _forest(draw, rng, horizon):
    for _ in range(rng.randrange(16, 34)):
        x, foot = rng.uniform(0, CANVAS), horizon + rng.uniform(0, 70)
        wide = rng.uniform(4, 13)
        draw.rectangle((x - wide / 2, -5, x + wide / 2, foot), _vary(rng, (70, 50, 35)))
        for _ in range(5):
            u, v, r = x + rng.gauss(0, 22), rng.uniform(-10, foot - 60), rng.uniform(10, 30)
            draw.ellipse((u - r, v - r, u + r, v + r), _vary(rng, (45, 85, 40)))


def _mountain(draw, rng, horizon):
    for layer in range(rng.randrange(2, 4)):
        base = horizon + 18 * layer
        for _ in range(3):
            x, high = rng.uniform(0, CANVAS), rng.uniform(60, 150) - 25 * layer
            half = high * rng.uniform(0.7, 1.2)
            peak = (x, base - high)
            draw.polygon([(x - half, base), peak, (x + half, base)], _vary(rng, (105, 105, 115)))
            tip = 0.3 * half
            snow = [(x - tip, base - 0.7 * high), peak, (x + tip, base - 0.7 * high)]
            draw.polygon([*snow, (x, base - high * (0.6 + 0.1 * math.sin(x)))], (240, 243, 248))


_PAINT = {
    "beach": _beach,
    "city": _city,
    "field": _field,
    "forest": _forest,
    "mountain": _mountain,
}
