"""Which way an animal faces, from its points.

Angles are in degrees: 0 along +x (to the right of the picture), counter-clockwise as seen in the
picture (90 is up, although y counts downwards), in (-180, 180].

Arrays may be numpy's or jax's: the functions ask an array for its own namespace.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError

# The names that data sets give to the three places, in lower case without '_', '-' and spaces.
USUAL = {
    "base": (("base",), ("tailbase",), ("basetail",), ("tail",), ("tailstart",), ("tailroot",)),
    "neck": (("neck",), ("nape",), ("leftear", "rightear"), ("earleft", "earright"),
             ("earl", "earr"), ("lear", "rear"), ("withers",)),
    "head": (("head",), ("snout",), ("nose",), ("nosetip",), ("snouttip",)),
}  # fmt: skip


class Angle(NamedTuple):
    """A direction to be measured.

    Attributes:
      name: 'heading' or 'head_direction'.
      start, end: indices of the points whose midpoints the arrow leads from and to.
    """

    name: str
    start: tuple[int, ...]
    end: tuple[int, ...]


def find_angles(points: Sequence[str], options) -> tuple[Angle, ...]:
    """The angles that the named points allow.

    'heading' leads from the tail base to the neck (to the head, where there is no neck), and
    'head_direction' from the neck to the head.

    Args:
      points: names.
      options: with `base`, `neck` and `head`: names of points, whose midpoint is meant; () for what
        is usually called so.

    Raises:
      UserError: a name that is not among the points.
    """
    places = {place: _indices(points, place, tuple(options[place])) for place in USUAL}
    base, neck, head = places["base"], places["neck"], places["head"]
    angles = []
    if base and (neck or head):
        angles.append(Angle("heading", base, neck or head))
    if neck and head:
        angles.append(Angle("head_direction", neck, head))
    return tuple(angles)


def _indices(points: Sequence[str], place: str, wanted: tuple[str, ...]) -> tuple[int, ...]:
    for name in wanted:
        if name not in points:
            raise UserError(
                f"heading.{place}: there is no point {name!r}, but {', '.join(points)}; choose "
                "among them"
            )
    if wanted:
        return tuple(points.index(name) for name in wanted)
    plain = [name.lower().translate(str.maketrans("", "", "_- ")) for name in points]
    for names in USUAL[place]:
        if all(name in plain for name in names):
            return tuple(plain.index(name) for name in names)
    return ()


def angles_of(points, angles: Sequence[Angle]):
    """Degrees, [..., A], of points [..., K, 2]."""
    xp = points.__array_namespace__()
    if not angles:
        return xp.zeros((*points.shape[:-2], 0))
    start = xp.stack([_midpoint(points, a.start) for a in angles], -2)  # [..., A, 2]
    end = xp.stack([_midpoint(points, a.end) for a in angles], -2)
    # Start less end, not minus (end less start): -0.0 would turn 180 degrees into -180.
    return xp.rad2deg(xp.arctan2(start[..., 1] - end[..., 1], end[..., 0] - start[..., 0]))


def both_visible(visible, angles: Sequence[Angle]):
    """Whether all points of an angle are known: [..., A] of visible [..., K] in {0, 1}.

    For confidences in [0, 1] instead, that all of them are right: their product.
    """
    xp = visible.__array_namespace__()
    shares = [xp.prod(visible[..., np.array(a.start + a.end)], axis=-1) for a in angles]
    return xp.stack(shares, -1) if shares else xp.zeros((*visible.shape[:-1], 0))


def difference(a, b):
    """Degrees from b to a, the short way around: in [-180, 180)."""
    return (a - b + 180.0) % 360.0 - 180.0


def _midpoint(points, indices: tuple[int, ...]):
    return points[..., np.array(indices), :].mean(-2)


def mirror_order(points: Sequence[str]) -> list[int]:
    """Index of each point's mirror image: 'left_ear' and 'right_ear' change places under a flip.

    Sides are the words left and right anywhere in a name, or l and r set off by '_', '-', '.' or a
    space; a point without a counterpart is its own.
    """
    order = []
    for i, name in enumerate(points):
        others = [other for other in _mirror_names(name) if other in points]
        order.append(points.index(others[0]) if others else i)
    return order


def _mirror_names(name: str) -> list[str]:
    mirrored = []
    for a, b in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        for one, other in ((a, b), (b, a)):
            if one in name:
                mirrored.append(name.replace(one, other, 1))
    for mark in "_-. ":
        for a, b in (("l", "r"), ("L", "R")):
            for one, other in ((a, b), (b, a)):
                if name.endswith(mark + one):
                    mirrored.append(name[: -len(one)] + other)
                if name.startswith(one + mark):
                    mirrored.append(other + name[len(one) :])
    return mirrored
