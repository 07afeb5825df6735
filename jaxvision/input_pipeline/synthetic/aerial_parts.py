"""What the synthetic aerial scenes of `aerial.py` are made of: light, trees, vehicles.

Lengths are in pixels of the final image (about .5 m on the ground); z points up, the view is
straight down. Everything is drawn at SUPERSAMPLE times that size, by polygon, so that the mask
comes from the very polygons that the image comes from.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

SUPERSAMPLE = 2
Point = tuple[float, ...]
Color = tuple[float, float, float]

# How strongly the grain of `aerial.finish` shows on a material: 255 changes brightness by 100%
# a standard deviation.
LAWN, PAVING, SOIL, ROOFING, FOLIAGE, SMOOTH = 22, 10, 20, 11, 58, 4

CAR_COLORS = ((225, 225, 222), (186, 188, 190), (52, 54, 58), (96, 98, 102), (142, 52, 46),
              (54, 74, 112), (202, 196, 180))  # fmt: skip


class Sun(NamedTuple):
    """The one light of a scene.

    Attributes:
      to: unit vector [3] towards the sun.
      shadow: (x, y) that the shadow of a point moves for each pixel of its height.
    """

    to: Point
    shadow: Point


class Canvas(NamedTuple):
    """Layers at SUPERSAMPLE times the image size, and what is still to be drawn on them.

    `color` is red, green, blue and the grain strength. Its mode is CMYK because Pillow reduces
    that as four plain channels, where RGBA would weigh the first three by the fourth.
    """

    rng: random.Random
    sun: Sun
    size: int
    color: ImageDraw.ImageDraw
    shade: ImageDraw.ImageDraw  # 255: the sun is hidden
    mask: ImageDraw.ImageDraw  # 255: roof
    roofs: list  # of aerial_roofs.Roof
    trees: list[tuple[float, float, float]]  # x, y, radius
    roadways: ImageDraw.ImageDraw | None = None  # 255: roadway, where these are asked for
    crowns: ImageDraw.ImageDraw | None = None  # 255: tree, where these are asked for


class Pose(NamedTuple):
    """Where a thing lies: its local axes turned by `angle` (radians) about (x, y)."""

    x: float
    y: float
    angle: float

    def at(self, x: float, y: float, turn: float = 0.0) -> "Pose":
        """The pose of a part at the local (x, y)."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return Pose(self.x + c * x - s * y, self.y + s * x + c * y, self.angle + turn)

    def trace(self, points: Sequence[Point], shadow: Point = (0.0, 0.0)) -> list[Point]:
        """Local (x, y) or (x, y, z) to canvas coordinates, points moved by z times `shadow`."""
        k = SUPERSAMPLE
        c, s = k * math.cos(self.angle), k * math.sin(self.angle)
        x0, y0 = k * self.x, k * self.y
        if len(points[0]) == 2:
            return [(x0 + c * x - s * y, y0 + s * x + c * y) for x, y in points]
        a, b = k * shadow[0], k * shadow[1]
        return [(x0 + c * x - s * y + a * z, y0 + s * x + c * y + b * z) for x, y, z in points]


def box(x0: float, y0: float, x1: float, y1: float, z: float | None = None) -> list[Point]:
    """The corners of an axis-aligned rectangle, at height z if given."""
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return corners if z is None else [(x, y, z) for x, y in corners]


def ink(color: Color, grain: int, gain: float = 1.0) -> tuple[int, int, int, int]:
    """`color` times `gain`, with a grain strength, as the color layer takes it: clipped at 255."""
    return int(color[0] * gain), int(color[1] * gain), int(color[2] * gain), grain


def vary(rng: random.Random, color: Color, amount: float = 0.06) -> Color:
    """`color` a little lighter or darker, warmer or colder (standard deviations of `amount`)."""
    gain, warm = 1 + rng.gauss(0, amount), rng.gauss(0, amount / 3)
    return color[0] * gain * (1 + warm), color[1] * gain, color[2] * gain * (1 - warm)


def pave(canvas: Canvas, pose: Pose, points: Sequence[Point], color: Color, grain: int) -> None:
    """Fills a polygon on the ground."""
    canvas.color.polygon(pose.trace(points), ink(color, grain))


def draw_shadow(canvas: Canvas, pose: Pose, face: Sequence[Point]) -> None:
    """The shadow on the ground of the solid between the ground and `face`, beyond its footprint.

    Only the walls that look away from the sun add to it: what leaves the footprint along the
    shadow passes below one of them.
    """
    low = pose.trace(face)
    high = pose.trace(face, canvas.sun.shadow)
    (ax, ay), (bx, by), (cx, cy) = low[:3]
    turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    sx, sy = canvas.sun.shadow
    for i in range(len(face)):
        (px, py), (qx, qy) = low[i - 1], low[i]
        if ((qy - py) * sx - (qx - px) * sy) * turn > 0:
            canvas.shade.polygon((low[i - 1], low[i], high[i], high[i - 1]), 255)


def on_image(canvas: Canvas, x: float, y: float, margin: float) -> bool:
    """Whether a thing that reaches `margin` pixels about (x, y) may be seen."""
    return -margin < x < canvas.size + margin and -margin < y < canvas.size + margin


def grows(canvas: Canvas, roofs: Image.Image, tree: tuple[float, float, float]) -> bool:
    """Whether a tree may be seen and its stem is not inside a building (canvas layer `roofs`)."""
    x, y, radius = tree
    if not on_image(canvas, x, y, 3 * radius):
        return False
    inside = on_image(canvas, x, y, 0)
    return not (inside and roofs.getpixel((int(x * SUPERSAMPLE), int(y * SUPERSAMPLE))))


def draw_trees(canvas: Canvas, roofs: Image.Image, leaf: Color) -> None:
    """Draws all trees; a crown takes the roof below it out of the mask, for it hides it."""
    rng, k, sun = canvas.rng, SUPERSAMPLE, canvas.sun
    trees = [tree for tree in canvas.trees if grows(canvas, roofs, tree)]
    crowns = []
    for x, y, radius in trees:
        turn, corners = rng.uniform(0, 1), []
        for i in range(10):
            angle, r = (i + turn) * math.tau / 10, k * radius * rng.uniform(0.88, 1.14)
            corners.append((k * x + r * math.cos(angle), k * y + r * math.sin(angle)))
        crowns.append(corners)
        reach = 1.3 * k * radius
        dx, dy = reach * sun.shadow[0], reach * sun.shadow[1]
        canvas.shade.polygon([(a + dx, b + dy) for a, b in corners], 225)
        canvas.shade.polygon([(a + dx / 2, b + dy / 2) for a, b in corners], 225)
    for (x, y, radius), corners in zip(trees, crowns, strict=True):
        canvas.mask.polygon(corners, 0)
        if canvas.crowns:
            canvas.crowns.polygon(corners, 255)
        canvas.shade.polygon(corners, 0)
        color = vary(rng, leaf, 0.12)
        canvas.color.polygon(corners, ink(color, FOLIAGE, 0.62))
        draw_foliage(canvas, k * x, k * y, k * radius, color)


def draw_foliage(canvas: Canvas, x: float, y: float, radius: float, color: Color) -> None:
    """Clumps of leaves within a crown, brighter towards the sun (canvas coordinates)."""
    rng, (sx, sy, _) = canvas.rng, canvas.sun.to
    # The clumps end at .78 of the radius, inside the smallest crown that `draw_trees` draws.
    for _ in range(3 + int(radius / 4)):
        angle, away = rng.uniform(0, math.tau), rng.uniform(0.1, 0.5)
        dx, dy, r = away * math.cos(angle), away * math.sin(angle), radius * 0.28
        cx, cy = x + dx * radius, y + dy * radius
        gain = 0.85 + 0.75 * (dx * sx + dy * sy) + rng.uniform(-0.08, 0.12)
        canvas.color.ellipse((cx - r, cy - r, cx + r, cy + r), ink(color, FOLIAGE, gain))


def draw_car(canvas: Canvas, pose: Pose) -> None:
    """A car, or seldom a van or truck, along the local x axis, with its shadow on the ground."""
    rng = canvas.rng
    if not on_image(canvas, pose.x, pose.y, 15):
        return
    long, wide, tall = (9.0, 3.8, 2.5) if rng.random() < 0.92 else (15.0, 5.0, 5.0)
    color = vary(rng, rng.choice(CAR_COLORS))
    x, y = long / 2, wide / 2
    body = box(-x, -y, x, y, tall)
    draw_shadow(canvas, pose, body)
    corners = pose.trace(body)
    canvas.shade.polygon(corners, 0)
    canvas.color.polygon(corners, ink(color, SMOOTH))
    if tall < 3:
        glass = (48, 54, 60)
        pave(canvas, pose, box(-0.3 * long, -y + 0.5, 0.28 * long, y - 0.5), glass, SMOOTH)
        pave(canvas, pose, box(-0.2 * long, -y + 0.5, 0.1 * long, y - 0.5), color, SMOOTH)
