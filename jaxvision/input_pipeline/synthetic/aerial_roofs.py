"""The roofs of the synthetic aerial scenes of `aerial.py`: their plans, faces and light.

A roof is a list of planar faces in space: what it covers, how bright each face is and where its
shadow falls all follow from them. Lengths are in pixels of the final image, heights included.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from jaxvision.input_pipeline.synthetic.aerial_parts import (
    ROOFING,
    Canvas,
    Color,
    Point,
    Pose,
    Sun,
    box,
    draw_shadow,
    ink,
    pave,
    vary,
)

# Tiles and pale roofs, each in a few tones: colors that lots share (gray, brown, tan) would have to
# be told from asphalt and soil by shape alone, which a first run of minutes does not learn.
ROOF_COLORS = {
    "tile": ((172, 84, 60), (156, 70, 52), (182, 104, 76), (128, 66, 56)),
    "white": ((206, 206, 202), (188, 188, 184), (222, 220, 214)),
}
# How common a roof color is by what it covers.
PITCHED = {"tile": 8, "white": 2}
FLAT = {"white": 5, "tile": 4}


class Roof(NamedTuple):
    """A building as seen from above.

    Attributes:
      faces: planar convex polygons of local (x, y, z); together they are the footprint.
      color: as it would look lit straight from above.
      inset: the flat part inside the parapet, drawn over `faces`; empty on pitched roofs.
      boxes: (x, y, width, depth, height) of what stands on the roof.
    """

    pose: Pose
    faces: list[list[Point]]
    color: Color
    inset: list[list[Point]]
    boxes: list[tuple[float, float, float, float, float]]


def roof_color(canvas: Canvas, shares: dict[str, float]) -> Color:
    """A roof color drawn from `shares`, varied."""
    family = canvas.rng.choices(list(shares), list(shares.values()))[0]
    return vary(canvas.rng, canvas.rng.choice(ROOF_COLORS[family]), 0.08)


def lit(face: Sequence[Point], pose: Pose, sun: Sun) -> float:
    """How bright a roof face is against a horizontal one: a Lambert surface under sun and sky."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = face[:3]
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.copysign(math.sqrt(nx * nx + ny * ny + nz * nz), nz)
    c, s = math.cos(pose.angle), math.sin(pose.angle)
    normal = ((c * nx - s * ny) / length, (s * nx + c * ny) / length, nz / length)
    direct = max(0.0, sum(n * t for n, t in zip(normal, sun.to, strict=True)))
    return (0.35 + direct) / (0.35 + sun.to[2])


def gable(width: float, depth: float, eave: float, pitch: float, hip: float) -> list[list[Point]]:
    """A pitched roof with its ridge along x: two faces, or four where hip > 0.

    Args:
      width, depth: of the footprint, along x and y.
      eave: height of its edge.
      pitch: rise over run.
      hip: run of the end faces as a share of half the depth; 0 for a gable.
    """
    x, y = width / 2, depth / 2
    ridge, top = x - min(hip * y, x - 1), eave + y * pitch
    a, b, c, d = box(-x, -y, x, y, eave)
    left, right = (-ridge, 0, top), (ridge, 0, top)
    faces = [[a, b, right, left], [c, d, left, right]]
    return faces + ([[b, c, right], [d, a, left]] if hip else [])


def wing(x: float, half: float, start: float, end: float, eave: float, pitch: float, hip: float):
    """A pitched wing that meets a main roof of the same pitch and eave at y = `start`.

    Its ridge runs on by `half` past that eave, where it meets the slope of the main roof: that
    makes the two valleys. `end` is the y of its outer end; returns two or three faces.
    """
    out = 1 if end > start else -1
    top = eave + half * pitch
    inner, outer = (x, start - out * half, top), (x, end - out * hip * half, top)
    a, b = (x - half, start, eave), (x + half, start, eave)
    c, d = (x + half, end, eave), (x - half, end, eave)
    faces = [[a, inner, outer, d], [b, inner, outer, c]]
    return faces + ([[d, c, outer]] if hip else [])


def flat_plan(rng: random.Random, width: float, depth: float, plan: str) -> list[list[float]]:
    """The rectangles (x0, y0, x1, y1) of a flat-roofed plan: 'box', 'L', 'T', 'U' or 'court'.

    They overlap by the width of an arm, so that each may be inset alone for a parapet.
    """
    x, y = width / 2, depth / 2
    arm = min(width, depth) * rng.uniform(0.34, 0.44)
    front, side = [-x, -y, x, -y + arm], rng.choice((-1, 1))
    left, right = [-x, -y, -x + arm, y], [x - arm, -y, x, y]
    if plan == "L":
        return [front, left if side < 0 else right]
    if plan == "T":
        middle = rng.uniform(-0.3, 0.3) * (width - arm)
        return [front, [middle - arm / 2, -y, middle + arm / 2, y]]
    if plan == "U":
        return [front, left, right]
    if plan == "court":
        return [front, left, right, [-x, y - arm, x, y]]
    return [[-x, -y, x, y]]


def flat_roof(canvas: Canvas, pose: Pose, rects: list[list[float]], height: float, color: Color):
    """A flat roof with a parapet, and boxes (units, skylights, a stair head) standing on it."""
    rng, rim = canvas.rng, canvas.rng.choice((0.0, 1.0, 1.0, 1.5))
    faces = [box(*rect, height) for rect in rects]
    inset = [box(x0 + rim, y0 + rim, x1 - rim, y1 - rim) for x0, y0, x1, y1 in rects]
    boxes = []
    for x0, y0, x1, y1 in rects:
        for _ in range(int(rng.uniform(0, (x1 - x0) * (y1 - y0) / 260))):
            w, d, tall = rng.uniform(2, 6), rng.uniform(2, 5), rng.choice((0.0, 1.5, 2.5))
            if x1 - x0 > w + 9 and y1 - y0 > d + 9:
                spot = rng.uniform(x0 + 3, x1 - w - 6), rng.uniform(y0 + 3, y1 - d - 6)
                boxes.append((*spot, w, d, tall))
    canvas.roofs.append(Roof(pose, faces, color, inset if rim else [], boxes))


def draw_roofs(canvas: Canvas) -> None:
    """Draws all roofs: their shadows first, because a shadow never hides a roof's own color."""
    for roof in canvas.roofs:
        for face in roof.faces:
            draw_shadow(canvas, roof.pose, face)
    for roof in canvas.roofs:
        draw_roof(canvas, roof)


def draw_roof(canvas: Canvas, roof: Roof) -> None:
    """Draws one roof as building in the mask, lit in the shade layer, and in color."""
    pose, sun, rng = roof.pose, canvas.sun, canvas.rng
    rim = rng.uniform(0.75, 1.2) if roof.inset else 1.0
    for face in roof.faces:
        corners = pose.trace(face)
        canvas.mask.polygon(corners, 255)
        canvas.shade.polygon(corners, 0)
        gain = rim * lit(face, pose, sun) * rng.uniform(0.98, 1.02)
        canvas.color.polygon(corners, ink(roof.color, ROOFING, gain))
    for part in roof.inset:
        pave(canvas, pose, part, roof.color, ROOFING)
    for x, y, width, depth, height in roof.boxes:
        corners = box(x, y, x + width, y + depth, height)
        if height:
            draw_shadow(canvas, pose, corners)
            canvas.shade.polygon(pose.trace(corners), 0)
        gain = rng.uniform(0.8, 1.25) if height else rng.uniform(0.6, 0.85)
        canvas.color.polygon(pose.trace(corners), ink(roof.color, ROOFING, gain))
