"""One built-in street scene: houses, trees, cars, people and litter along a road, in perspective.

Lengths are in metres: x to the right of the camera, z away from it, heights above the ground; the
camera stands in the middle of the road.
"""

import random
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLE = 2
EYE = 1.7  # height of the camera
ROAD, WALK = 4.0, 7.0  # from the middle to the kerb, and to the house fronts
NEAR, FAR = 3.2, 70.0
WALLS = ((176, 120, 96), (198, 178, 148), (150, 152, 156), (214, 204, 188), (168, 140, 112))
CARS = ((178, 40, 38), (46, 70, 130), (230, 230, 232), (38, 40, 44), (150, 154, 160))
CLOTHES = ((190, 60, 60), (50, 80, 150), (40, 40, 46), (220, 190, 70), (90, 130, 90))
RUBBISH = ((238, 236, 228), (60, 56, 52), (196, 170, 60), (110, 130, 170))
LEAVES = ((58, 104, 46), (74, 124, 54), (92, 128, 62))


class Street(NamedTuple):
    """What a scene is to show; each from 0 to 1.

    Attributes:
      green: how many trees.
      upkeep: how well the houses are kept.
      litter, traffic, people: how much of these.
      light: from dusk to noon.
    """

    green: float
    upkeep: float
    litter: float
    traffic: float
    people: float
    light: float


class View(NamedTuple):
    """Where things fall on the canvas.

    Attributes:
      draw: of the canvas.
      rng: for what the street leaves open.
      focal, centre, horizon: pixels.
    """

    draw: ImageDraw.ImageDraw
    rng: random.Random
    focal: float
    centre: float
    horizon: float

    def at(self, x: float, height: float, z: float) -> tuple[float, float]:
        """A point on the canvas."""
        return self.centre + self.focal * x / z, self.horizon + self.focal * (EYE - height) / z


def render(street: Street, seed: str, size: int) -> np.ndarray:
    """Draws a street: uint8 [size, size, 3]; the same for the same arguments.

    The numbers of trees, cars, people and pieces of litter follow from the street alone, so a
    score that follows from the street is true of the picture.
    """
    rng, side = random.Random(seed), size * SUPERSAMPLE
    sky = _mix((104, 116, 140), (150, 196, 236), street.light)
    image = Image.new("RGB", (side, side), sky)
    focal, horizon = side * rng.uniform(0.72, 0.88), side * rng.uniform(0.42, 0.5)
    view = View(ImageDraw.Draw(image), rng, focal, side * rng.uniform(0.45, 0.55), horizon)
    _ground(view, side)
    things = []
    for sign in (-1, 1):
        _houses(view, sign, street.upkeep)
        things += [
            (z, _tree, sign) for z in _spread(rng, round(12 * street.green / 2 + 0.25 * sign))
        ]
        things += [(z, _person, sign) for z in _spread(rng, round(5 * street.people), 16)]
    things += [(z, _car, rng.choice((-1, 1))) for z in _spread(rng, round(8 * street.traffic), 36)]
    things += [(z, _rubbish, 0) for z in _spread(rng, round(36 * street.litter), 14)]
    for z, thing, sign in sorted(things, key=lambda t: -t[0]):
        thing(view, z, sign)
    return _develop(image, rng, street.light)


def _mix(a, b, share):
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def _spread(rng: random.Random, count: int, far: float = FAR) -> list[float]:
    """Distances of `count` things: one in each of as many stretches, denser near the camera."""
    steps = [(i + rng.random()) / max(count, 1) for i in range(count)]
    return [NEAR + 1.5 + (far - NEAR) * step**1.6 for step in steps]


def _ground(view: View, side: int) -> None:
    draw, rng = view.draw, view.rng
    walk = _mix((150, 146, 140), (176, 172, 164), rng.random())
    draw.rectangle((0, view.horizon, side, side), fill=walk)
    road = [view.at(x, 0, z) for x, z in ((-ROAD, 1), (-ROAD, 500), (ROAD, 500), (ROAD, 1))]
    draw.polygon(road, fill=_mix((74, 74, 78), (104, 102, 100), rng.random()))
    for sign in (-1, 1):
        kerb = [
            (sign * x, z) for x, z in ((ROAD, 1), (ROAD, 500), (ROAD + 0.25, 500), (ROAD + 0.25, 1))
        ]
        draw.polygon([view.at(x, 0, z) for x, z in kerb], fill=(198, 196, 190))
    for i in range(14):
        z = 3 + 5 * i
        dash = [(-0.08, z), (-0.08, z + 2), (0.08, z + 2), (0.08, z)]
        draw.polygon([view.at(x, 0, d) for x, d in dash], fill=(214, 212, 202))


def _houses(view: View, sign: int, upkeep: float) -> None:
    """A row of fronts on one side; where upkeep is low, walls are gray and windows are boarded."""
    rng, z = view.rng, FAR
    floor = rng.choice((2, 3, 4))
    while z > 1.4:
        width = rng.uniform(6, 11)
        floors = max(1, floor + rng.choice((-1, 0, 0, 1)))
        wall = _mix((124, 116, 108), rng.choice(WALLS), 0.25 + 0.75 * upkeep)
        near = max(z - width, 1.2)
        _front(view, sign, near, z, 3.1 * floors + 0.6, wall)
        columns = max(2, round(width / 2.6))
        for row in range(floors):
            for column in range(columns):
                share = (column + 0.25) / columns, (column + 0.75) / columns
                ends = [z + (near - z) * s for s in share]
                boarded = rng.random() > 0.35 + 0.65 * upkeep
                pane = (
                    (96, 78, 58) if boarded else _mix((60, 74, 92), (150, 178, 200), rng.random())
                )
                _front(view, sign, ends[1], ends[0], 3.1 * row + 2.5, pane, 3.1 * row + 1.0)
        if rng.random() > 0.3 + 0.7 * upkeep:  # paint sprayed on the wall
            tag = [z - width * rng.uniform(0.1, 0.9) for _ in range(6)]
            points = [view.at(sign * WALK, rng.uniform(0.3, 1.9), max(t, near)) for t in tag]
            view.draw.line(points, fill=rng.choice(CLOTHES), width=max(1, int(view.focal / z / 6)))
        z = near if near > 1.2 else 0


def _front(view, sign, near, far, top, colour, bottom=0.0):
    x = sign * WALK
    corners = [(near, bottom), (near, top), (far, top), (far, bottom)]
    view.draw.polygon([view.at(x, h, z) for z, h in corners], fill=colour)


def _tree(view: View, z: float, sign: int) -> None:
    rng, x = view.rng, sign * (ROAD + _offset(view.rng))
    height, crown = rng.uniform(4, 6.5), rng.uniform(1.2, 1.9)
    draw, leaf = view.draw, rng.choice(LEAVES)
    draw.polygon(
        [view.at(x + dx, h, z) for dx, h in ((-0.14, 0), (-0.1, height), (0.1, height), (0.14, 0))],
        fill=(84, 66, 50),
    )
    for _ in range(9):
        cx, cy = x + rng.gauss(0, crown / 2), height + rng.gauss(0, crown / 2)
        _disc(
            view,
            cx,
            cy,
            z,
            crown * rng.uniform(0.45, 0.7),
            _mix(leaf, (30, 60, 28), rng.random() / 2),
        )


def _offset(rng: random.Random) -> float:
    """How far from the kerb a tree or a person stands, metres."""
    return rng.uniform(0.5, 1.6)


def _disc(view, x, height, z, radius, colour):
    left, top = view.at(x - radius, height + radius, z)
    right, bottom = view.at(x + radius, height - radius, z)
    view.draw.ellipse((left, top, right, bottom), fill=colour)


def _box(view, x0, x1, low, high, z, colour):
    left, top = view.at(x0, high, z)
    right, bottom = view.at(x1, low, z)
    view.draw.rectangle((left, top, right, bottom), fill=colour)


def _person(view: View, z: float, sign: int) -> None:
    x, colour = sign * (ROAD + 0.6 + _offset(view.rng)), view.rng.choice(CLOTHES)
    _box(view, x - 0.2, x + 0.2, 0, 0.85, z, (52, 54, 66))
    _box(view, x - 0.27, x + 0.27, 0.8, 1.45, z, colour)
    _disc(view, x, 1.62, z, 0.15, (204, 164, 138))


def _car(view: View, z: float, sign: int) -> None:
    x, colour = sign * view.rng.uniform(1.6, 2.9), view.rng.choice(CARS)
    z += 1.5
    _box(view, x - 0.8, x + 0.8, 0.0, 0.35, z, (26, 26, 28))
    _box(view, x - 0.9, x + 0.9, 0.3, 0.95, z, colour)
    _box(view, x - 0.72, x + 0.72, 0.9, 1.45, z, _mix(colour, (30, 36, 44), 0.7))
    for side in (-0.65, 0.65):
        _disc(view, x + side, 0.7, z, 0.13, (226, 60, 48) if sign > 0 else (250, 244, 214))


def _rubbish(view: View, z: float, sign: int) -> None:
    del sign
    rng, colour = view.rng, view.rng.choice(RUBBISH)
    x, wide = rng.uniform(-WALK, WALK), rng.uniform(0.14, 0.34)
    corners = [(rng.uniform(-wide, wide), rng.uniform(0, wide)) for _ in range(4)]
    view.draw.polygon(
        [view.at(x + dx, h, z) for dx, h in [(-wide, 0), *corners, (wide, 0)]], fill=colour
    )


def _develop(image: Image.Image, rng: random.Random, light: float) -> np.ndarray:
    """Light, its colour, blur and sensor noise: uint8 [S, S, 3]."""
    image = image.reduce(SUPERSAMPLE).filter(ImageFilter.BoxBlur(rng.uniform(0.0, 0.6)))
    pixels = np.asarray(image, np.float32) * (0.42 + 0.62 * light)
    pixels *= np.array(_mix((86, 94, 118), (102, 100, 97), light), np.float32) / 100
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape[:2])
    pixels += (2.0 + 3.0 * (1 - light)) * noise[..., None].astype(np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)
