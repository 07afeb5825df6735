"""Built-in data for keypoints: procedural rodents seen from above, with exact points.

A rodent is a chain of discs along a bent spine, with ears, paws and a tail, on bedding or a plain
floor under uneven light, with a shadow, some near a wall. Head is the tip of the snout, neck the
middle between the ears, base where the tail begins.
"""

import functools
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxvision.input_pipeline.dataset import SPLITS, Dataset, Split, fingerprint
from jaxvision.input_pipeline.readers.keypoints import make_info, row_of

VERSION = 1  # raise it with every change of what `render` returns
KEYPOINTS = ("head", "neck", "base")
SUPERSAMPLE = 4
SIDE = 50  # pixels, where data.image_size is 0
# Radius of the body along the spine, from snout to tail base, as a share of the body's length.
OUTLINE = ((0.0, 0.025), (0.06, 0.055), (0.16, 0.095), (0.24, 0.1), (0.38, 0.125), (0.55, 0.155),
           (0.75, 0.17), (0.9, 0.13), (1.0, 0.06))  # fmt: skip
EARS = 0.2  # place of the ears along the spine


def render(seed: int, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one rodent.

    Args:
      seed, index: name the picture; the result depends on them and on `size` alone.
      size: side, pixels.

    Returns:
      image: uint8 [size, size, 1].
      points: float32 [3, 2], x and y of KEYPOINTS in pixels, (0, 0) the first pixel's centre.
    """
    rng = random.Random(f"rodent {seed} {index} {size}")
    pixels = np.random.default_rng(rng.getrandbits(64))
    spine, length = _spine(rng, size)
    floor = _floor(rng, pixels, size)
    shadow = _mask(size, lambda draw: _draw_body(draw, spine, length))
    moved = (rng.uniform(-0.08, 0.08) * length, rng.uniform(-0.08, 0.08) * length)
    shadow = np.roll(_blur(shadow, 0.04 * length), [round(m) for m in moved], (0, 1))
    scene = floor * (1 - rng.uniform(0.0, 0.4) * shadow)
    fur = rng.uniform(0.08, 0.3)
    for draw, tone in (
        (
            functools.partial(_draw_tail, rng=rng, spine=spine, length=length),
            rng.uniform(0.25, 0.5),
        ),
        (functools.partial(_draw_paws, rng=rng, spine=spine, length=length), rng.uniform(0.2, 0.5)),
        (functools.partial(_draw_body, spine=spine, length=length), fur),
        (functools.partial(_draw_ears, spine=spine, length=length), fur + rng.uniform(0.05, 0.3)),
    ):
        mask = _blur(_mask(size, draw), rng.uniform(0.2, 0.5))
        scene = scene * (1 - mask) + tone * (1 + 0.1 * _noise(pixels, size, 3)) * mask
    scene = scene * rng.uniform(0.7, 1.1) * 255 + rng.uniform(1, 5) * pixels.normal(
        size=scene.shape
    )
    points = np.array([_at(spine, 0.0), _at(spine, EARS), _at(spine, 1.0)], np.float32)
    return np.clip(scene, 0, 255).astype(np.uint8)[..., None], points


def _spine(rng: random.Random, size: int) -> tuple[np.ndarray, float]:
    """Points along the spine from snout to tail base, [21, 2], and its length, pixels."""
    length = size * rng.uniform(0.5, 0.7)
    direction, bend = rng.uniform(0, math.tau), rng.gauss(0, 0.9)
    turn = rng.gauss(0, 0.5)  # of the head against the body
    along = np.linspace(0, 1, 21)
    angles = direction + bend * (along - 0.5) + turn * np.clip(1 - along / 0.3, 0, 1)
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length / 20
    spine = np.cumsum(steps, 0)
    middle = (size - 1) / 2 + np.array([rng.uniform(-1, 1), rng.uniform(-1, 1)]) * size * 0.05
    return spine - spine[10] + middle, length


def _at(spine: np.ndarray, share: float) -> np.ndarray:
    place = share * (len(spine) - 1)
    low = min(int(place), len(spine) - 2)
    return spine[low] + (place - low) * (spine[low + 1] - spine[low])


def _normal(spine: np.ndarray, share: float) -> np.ndarray:
    """Unit vector across the spine."""
    step = _at(spine, min(share + 0.03, 1)) - _at(spine, max(share - 0.03, 0))
    step = step / np.linalg.norm(step)
    return np.array([-step[1], step[0]])


def _mask(size: int, draw) -> np.ndarray:
    """float32 [size, size] in [0, 1] of what `draw` draws in white, anti-aliased."""
    canvas = Image.new("L", (size * SUPERSAMPLE,) * 2)
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas.reduce(SUPERSAMPLE), np.float32) / 255


def _disc(draw, centre, radius: float) -> None:
    x, y = (np.asarray(centre) + 0.5) * SUPERSAMPLE - 0.5
    r = radius * SUPERSAMPLE
    draw.ellipse((x - r, y - r, x + r, y + r), 255)


def _draw_body(draw, spine, length) -> None:
    for share in np.linspace(0, 1, 60):
        radius = np.interp(share, *zip(*OUTLINE, strict=True)) * length
        _disc(draw, _at(spine, share), radius)


def _draw_ears(draw, spine, length) -> None:
    for side in (-1, 1):
        _disc(draw, _at(spine, EARS) + side * 0.1 * length * _normal(spine, EARS), 0.05 * length)


def _draw_paws(draw, rng, spine, length) -> None:
    for share, reach in ((0.3, 0.14), (0.85, 0.19)):
        for side in (-1, 1):
            if rng.random() < 0.5:
                place = _at(spine, share) + side * reach * length * _normal(spine, share)
                _disc(draw, place, 0.035 * length)


def _draw_tail(draw, rng, spine, length) -> None:
    step = spine[-1] - spine[-2]
    angle, place = math.atan2(step[1], step[0]) + rng.gauss(0, 0.3), spine[-1]
    curl = rng.gauss(0, 0.9)
    for share in np.linspace(0, 1, 50):
        _disc(draw, place, length * (0.03 - 0.02 * share))
        place = place + length * 0.9 / 50 * np.array([math.cos(angle), math.sin(angle)])
        angle += curl / 50


def _floor(rng: random.Random, pixels: np.random.Generator, size: int) -> np.ndarray:
    """float32 [size, size], about .4 to .9: light that falls off, bedding, and perhaps a wall."""
    ys, xs = np.mgrid[:size, :size] / size - 0.5
    light = rng.uniform(0.55, 0.85) + rng.uniform(-0.25, 0.25) * xs + rng.uniform(-0.25, 0.25) * ys
    bedding = rng.choice((0.0, 0.03, 0.08)) * _noise(pixels, size, rng.uniform(1.2, 4))
    floor = light * (1 + bedding + 0.04 * _noise(pixels, size, size / 4))
    if rng.random() < 0.5:
        angle, reach = (
            rng.choice(range(4)) * math.pi / 2 + rng.gauss(0, 0.05),
            rng.uniform(0.3, 0.5),
        )
        beyond = np.clip((xs * math.cos(angle) + ys * math.sin(angle) - reach) * size + 0.5, 0, 1)
        floor = floor * (1 - beyond) + rng.uniform(0.15, 0.6) * beyond
    return floor.astype(np.float32)


def _noise(pixels: np.random.Generator, size: int, cell: float) -> np.ndarray:
    """float32 [size, size] of about unit variance, smooth over `cell` pixels."""
    coarse = pixels.standard_normal((int(size / cell) + 2,) * 2, dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _blur(mask: np.ndarray, radius: float) -> np.ndarray:
    picture = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def read_picture(i: int, *, seed: int, first: int, size: int) -> dict[str, np.ndarray]:
    """Row i of a split whose pictures start at index `first`."""
    return row_of(*render(seed, first + i, size), "dark")


def load(config) -> Dataset:
    """The synthetic data set of `config`, drawn when read.

    Args:
      config: with `seed`, `data.image_size` (0: SIDE) and `data.synthetic_examples` (how many
        pictures in `train`, `val` and `test`; a split of 0 is left out).
    """
    seed, size = config.seed, config.data.image_size or SIDE
    counts = {split: int(config.data.synthetic_examples[split]) for split in SPLITS}
    # Training pictures come last, so that more of them leave validation and test as they were.
    starts = {"val": 0, "test": counts["val"], "train": counts["val"] + counts["test"]}
    splits = {}
    for split, count in counts.items():
        read = functools.partial(read_picture, seed=seed, first=starts[split], size=size)
        names = [f"rodent_{starts[split] + i:05d}" for i in range(count)]
        if count:
            splits[split] = Split(names, read, count)
    source = "built-in synthetic rodents (no data.path given)"
    key = fingerprint(["synthetic rodents", VERSION, seed, size, *counts.values()])
    return Dataset(source, splits, (), make_info(KEYPOINTS, splits, config.data, key), key)
