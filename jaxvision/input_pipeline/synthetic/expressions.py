"""Built-in data for facial expressions: cartoon faces of seven expressions.

Each face has an identity (skin, hair, glasses, beard, proportions), a pose (turned, tilted, off the
centre) and a light of its own, so that only the expression tells its class: how the mouth curves
and opens, how the brows stand, how wide the eyes are.
"""

import math
import random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxvision.input_pipeline import tfds
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.synthetic.drawn_classes import make_dataset

VERSION = 1  # part of the fingerprint: raise it with every change of what `render` returns
CANVAS = 160  # pixels a side; the picture is drawn there and then reduced
CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


class Expression(NamedTuple):
    """How far a face is from neutral; 0 each, and 1 for the eyes.

    Attributes:
      smile: mouth corners up (1) or down (-1).
      open: the mouth, from closed to wide open.
      narrow: the mouth's width is divided by 1 + narrow.
      frown: inner ends of the brows down (1) or up (-1).
      raised: the brows as a whole.
      eyes: how wide they are open.
      sneer: upper lip and nose drawn up.
    """

    smile: float = 0.0
    open: float = 0.0
    narrow: float = 0.0
    frown: float = 0.0
    raised: float = 0.0
    eyes: float = 1.0
    sneer: float = 0.0


# After Ekman and Friesen's action units of the six basic emotions.
EXPRESSIONS = {
    "angry": Expression(smile=-0.5, open=0.15, frown=1.0, raised=-0.6, eyes=0.8),
    "disgust": Expression(smile=-0.5, open=0.1, frown=0.5, raised=-0.3, eyes=0.5, sneer=1.0),
    "fear": Expression(smile=-0.4, open=0.45, narrow=-0.1, frown=-0.8, raised=0.7, eyes=1.4),
    "happy": Expression(smile=1.0, open=0.3, raised=0.1, eyes=0.75),
    "neutral": Expression(),
    "sad": Expression(smile=-0.9, frown=-0.9, raised=0.1, eyes=0.65),
    "surprise": Expression(open=1.0, narrow=0.6, raised=1.0, eyes=1.5),
}
SKINS = ((255, 224, 196), (241, 194, 155), (224, 172, 120), (186, 130, 88), (130, 84, 56))
HAIRS = (
    (35, 27, 22),
    (84, 56, 34),
    (150, 104, 56),
    (210, 180, 120),
    (150, 150, 152),
    (140, 60, 30),
)


class Face(NamedTuple):
    """A face's place on the canvas: features are drawn in its own coordinates.

    Attributes:
      x, y: of its middle, pixels.
      size: half its height, pixels.
      tilt: in the picture's plane, radians.
      yaw: to the side, -1 to 1: features slide that way and narrow.
      slim: half its width by half its height.
    """

    x: float
    y: float
    size: float
    tilt: float
    yaw: float
    slim: float

    def trace(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Pixels of points (u across, v down), in halves of the height from the middle."""
        x, y, size, tilt, yaw, slim = self
        narrow, slide, wide = math.sqrt(1 - 0.5 * yaw**2), 0.35 * yaw, slim * size
        sine, cosine = math.sin(tilt), math.cos(tilt)
        pixels = []
        for u, v in points:
            reach = math.sqrt(1 - u * u) if -1 < u < 1 else 0.0
            u, v = wide * (u * narrow + slide * reach), size * v
            pixels.append((x + cosine * u - sine * v, y + sine * u + cosine * v))
        return pixels


def load(config: Any) -> Dataset:
    """Faces as config.data.synthetic_examples counts them; rows as `labelled.make_dataset`'s.

    Raises:
      UserError: `data.tfds` is set.
    """
    tfds.refuse_without_path(config)
    source = "built-in cartoon faces of 7 expressions (data.path is not set)"
    return make_dataset(config, source, CLASSES, render, ("expressions", VERSION))


def render(rng: random.Random, name: str) -> Image.Image:
    """Draws one face with an expression of EXPRESSIONS: RGB, CANVAS x CANVAS pixels."""
    strength = rng.uniform(0.55, 1.1)
    neutral = Expression()
    expression = Expression(
        *(
            n + strength * (e - n) + rng.gauss(0, 0.06)
            for n, e in zip(neutral, EXPRESSIONS[name], strict=True)
        )
    )
    face = Face(
        x=CANVAS / 2 + rng.uniform(-9, 9),
        y=CANVAS / 2 + rng.uniform(-6, 12),
        size=CANVAS * rng.uniform(0.40, 0.52),
        tilt=rng.gauss(0, 0.12),
        yaw=rng.uniform(-0.7, 0.7),
        slim=rng.uniform(0.70, 0.85),
    )
    skin, hair = rng.choice(SKINS), rng.choice(HAIRS)
    picture = Image.new("RGB", (CANVAS, CANVAS), tuple(rng.randrange(20, 235) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    _background(draw, rng)
    _head(draw, rng, face, skin, hair)
    _eyes(draw, rng, face, expression, skin, hair)
    _nose(draw, rng, face, expression, skin)
    _mouth(draw, rng, face, expression, skin, hair)
    return _light(picture, rng)


def _shade(colour: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(min(255, max(0, round(c * factor))) for c in colour)


def _oval(u: float, v: float, wide: float, high: float, start=0.0, end=math.tau):
    """Points on an ellipse about (u, v), from angle to angle, clockwise from the right."""
    steps = [start + (end - start) * i / 24 for i in range(25)]
    return [(u + wide * math.cos(a), v + high * math.sin(a)) for a in steps]


def _background(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    for _ in range(rng.randrange(4)):
        x, y = rng.uniform(0, CANVAS), rng.uniform(0, CANVAS)
        w, h = rng.uniform(10, 80), rng.uniform(10, 80)
        draw.rectangle(
            (x - w, y - h, x + w, y + h), tuple(rng.randrange(20, 235) for _ in range(3))
        )


def _head(draw, rng, face, skin, hair):
    length = rng.choice((0.0, 0.0, 0.5, 1.1))
    if length:  # long hair behind the head
        draw.polygon(face.trace(_oval(0, 0.1, 1.25, 1.1 + length / 3)), hair)
    draw.polygon(face.trace([(-0.4, 0.6), (0.4, 0.6), (0.5, 1.6), (-0.5, 1.6)]), _shade(skin, 0.8))
    for side in (-1, 1):
        draw.polygon(face.trace(_oval(side * 1.02, 0.0, 0.14, 0.2)), _shade(skin, 0.9))
    draw.polygon(face.trace(_oval(0, 0, 1, 1)), skin)
    fringe = rng.uniform(-0.75, -0.45)
    if rng.random() < 0.88:  # else bald
        top = _oval(0, -0.02, 1.06, 1.06, math.pi * 1.03, math.pi * 1.97)
        line = [(0.85, -0.45), (rng.uniform(0, 0.5), fringe), (-rng.uniform(0, 0.5), fringe)]
        draw.polygon(face.trace([*top, *line, (-0.85, -0.45)]), hair)
    if rng.random() < 0.2:  # a beard, around the mouth
        draw.polygon(
            face.trace(_oval(0, 0.45, 0.8, 0.52, -0.25, math.pi + 0.25)), _shade(hair, 1.1)
        )
        draw.polygon(face.trace(_oval(0, 0.42, 0.5, 0.34)), skin)


def _eyes(draw, rng, face, expression, skin, hair):
    apart, level, wide = rng.uniform(0.36, 0.44), rng.uniform(-0.2, -0.1), rng.uniform(0.17, 0.23)
    high = 0.1 * max(expression.eyes, 0.12)
    iris, thick = rng.choice(((60, 40, 25), (70, 110, 150), (80, 120, 70))), rng.uniform(3, 7)
    gaze = rng.uniform(-0.06, 0.06)
    glasses = rng.random() < 0.2
    for side in (-1, 1):
        u = side * apart
        draw.polygon(face.trace(_oval(u, level, wide, high)), (245, 245, 245))
        pupil = min(high, 0.085)
        draw.polygon(face.trace(_oval(u + gaze, level, 0.1, pupil)), iris)
        draw.polygon(face.trace(_oval(u + gaze, level, 0.05, 0.6 * pupil)), (15, 12, 12))
        lid = _oval(u, level, wide, high, math.pi, math.tau)
        draw.line(face.trace(lid), _shade(skin, 0.35), 2)
        inner, outer = u - side * 0.2, u + side * 0.22
        middle = level - 0.21 - 0.14 * expression.raised
        slope = 0.11 * expression.frown
        brow = [(inner, middle + slope), (u, middle - 0.03), (outer, middle - slope + 0.03)]
        draw.line(face.trace(brow), _shade(hair, 0.8), round(thick), joint="curve")
        if glasses:
            draw.line(face.trace(_oval(u, level + 0.02, 0.29, 0.2)), (25, 25, 28), 2)
    if glasses:
        draw.line(face.trace([(-0.12, level), (0.12, level)]), (25, 25, 28), 2)


def _nose(draw, rng, face, expression, skin):
    dark, wide = _shade(skin, 0.62), rng.uniform(0.1, 0.17)
    tip = 0.2 - 0.05 * expression.sneer
    draw.line(face.trace([(0.02, -0.08), (wide, tip), (0, tip + 0.04), (-wide, tip)]), dark, 2)
    if expression.sneer > 0.3:  # wrinkles at its root, folds beside it
        for i in range(3):
            v = -0.1 + 0.06 * i
            draw.line(face.trace([(-0.1, v - 0.03), (0, v), (0.1, v - 0.03)]), dark, 2)
        for side in (-1, 1):
            draw.line(face.trace([(side * 0.18, 0.12), (side * 0.42, 0.4)]), dark, 2)


def _mouth(draw, rng, face, expression, skin, hair):
    wide = rng.uniform(0.34, 0.42) / (1 + max(expression.narrow, -0.5))
    wide *= 1 + 0.2 * max(expression.smile, 0)
    level, bend = rng.uniform(0.46, 0.52), 0.16 * expression.smile
    gap = 0.3 * max(expression.open, 0.0)
    lift = 0.1 * expression.sneer
    lip = (150, 70, 70) if rng.random() < 0.5 else _shade(skin, 0.6)
    us = [-1 + i / 6 for i in range(13)]

    def edge(shift):
        # Corners up by `bend`, the middle down; an opening parts upper and lower edge.
        return [(wide * u, level + bend * (0.5 - u * u) + shift * (1 - u * u)) for u in us]

    upper, lower = edge(-0.35 * gap - lift), edge(0.9 * gap)
    if gap > 0.03:
        draw.polygon(face.trace(upper + lower[::-1]), (60, 18, 22))
        if expression.smile > 0.3 or rng.random() < 0.4:  # teeth
            teeth = [(0.85 * u, v + 0.02) for u, v in upper]
            low = [(0.85 * u, v + 0.02 + 0.25 * gap) for u, v in upper]
            draw.polygon(face.trace(teeth + low[::-1]), (240, 238, 230))
    draw.line(face.trace(upper), lip, 4, joint="curve")
    draw.line(face.trace(lower), lip, 4, joint="curve")
    if expression.smile > 0.4:  # folds beside the mouth
        for side in (-1, 1):
            fold = [(side * 0.34, 0.22), (side * (wide + 0.12), level - 0.06)]
            draw.line(face.trace(fold), _shade(skin, 0.75), 2)


def _light(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Brighter to one side, in some colour; a little out of focus, with noise."""
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    pixels = np.asarray(picture).astype(np.float32)
    angle = rng.uniform(0, math.tau)
    at = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    slope = math.cos(angle) * at[None, :] + math.sin(angle) * at[:, None]
    strength = rng.uniform(0, 0.4) * slope[..., None]
    tint = np.array([rng.uniform(0.88, 1.12) for _ in range(3)], np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 9), pixels.shape)
    # In place: most of a second thousand pictures' time went into memory that comes and goes.
    pixels *= rng.uniform(0.6, 1.15) + strength
    pixels *= tint
    noise += pixels
    return Image.fromarray(noise.clip(0, 255, out=noise).astype(np.uint8))
