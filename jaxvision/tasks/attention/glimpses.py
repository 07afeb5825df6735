"""Where to look without having learned it, and how much of an image some glimpses show."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.models.retina import Retina, corner_pixels

FIXED = ("random", "centre", "grid")  # the policies that every learned one stands beside


def fixed_locations(policy, key, glimpses, batch):
    """Locations of a policy that looks at nothing before it decides.

    Args:
      policy: 'random' (uniform), 'centre', or 'grid' (evenly spread, row by row).
      key: of the random ones.
      glimpses, batch: T and B.

    Returns:
      float32 [T, B, 2], (x, y) in [-1, 1].
    """
    if policy == "random":
        return jax.random.uniform(key, (glimpses, batch, 2), minval=-1.0, maxval=1.0)
    points = np.zeros((glimpses, 2)) if policy == "centre" else grid_points(glimpses)
    return jnp.broadcast_to(jnp.asarray(points, jnp.float32)[:, None], (glimpses, batch, 2))


def grid_points(count):
    """`count` points in rows of nearly equal length, in the middles of their cells: [count, 2]."""
    rows = max(1, round(count**0.5))
    points = []
    for row, members in enumerate(np.array_split(np.arange(count), rows)):
        columns = len(members)
        y = (row + 0.5) / rows * 2 - 1
        points += [((column + 0.5) / columns * 2 - 1, y) for column in range(columns)]
    return np.array(points)


def fraction_seen(locations, retina: Retina, height, width, square):
    """The share of an image's pixels inside one of the retina's squares at any of the locations.

    Args:
      locations: [T, B, 2].
      retina: gives the side of the square.
      height, width: of the images, pixels.
      square: number of the square: 0 is the sharpest.

    Returns:
      float32 [T, B], after each glimpse.
    """
    side = retina.sides[square]
    start = corner_pixels(locations, height, width) - side // 2  # [T, B, 2]

    def inside(axis, length):
        pixels, low = jnp.arange(length), start[..., axis, None]
        return (pixels >= low) & (pixels < low + side)  # [T, B, length]

    def add(seen, covered):
        rows, columns = covered
        seen = seen | (rows[:, :, None] & columns[:, None, :])  # [B, H, W]
        return seen, seen.mean((1, 2), dtype=jnp.float32)

    nothing = jnp.zeros((locations.shape[1], height, width), bool)
    return jax.lax.scan(add, nothing, (inside(0, height), inside(1, width)))[1]
