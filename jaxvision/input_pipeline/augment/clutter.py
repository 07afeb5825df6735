"""Translated and cluttered images, made on the device by the recipe of Mnih et al. 2014."""

import jax
import jax.numpy as jnp


def on_canvas(key, images, others, size, pieces, piece_size):
    """Places each image at random on a black canvas and strews pieces of other images over it.

    The paper's translated MNIST has no pieces; its cluttered MNIST has random subpatches of 8 x 8
    pixels of other digits at random places. Where things overlap the brighter pixel stays.

    Args:
      key: a random key for each image, [B].
      images: uint8 [B, h, w, C].
      others: uint8 [B, pieces, h, w, C], images to cut the pieces from.
      size: side of the canvas, pixels.
      pieces: how many an image.
      piece_size: their side, pixels.

    Returns:
      uint8 [B, size, size, C].
    """

    def one(key, image, others):
        place_key, pieces_key = jax.random.split(key)
        canvas = jnp.zeros((size, size, image.shape[-1]), jnp.uint8)
        canvas = _paste(place_key, canvas, image)

        def strew(canvas, piece):
            cut_key, place_key = jax.random.split(piece[0])
            return _paste(place_key, canvas, _cut(cut_key, piece[1], piece_size)), None

        return jax.lax.scan(strew, canvas, (jax.random.split(pieces_key, pieces), others))[0]

    return jax.vmap(one)(key, images, others)


def other_images(key, images, pieces):
    """For each image of a batch `pieces` others of the batch, drawn at random.

    Args:
      images: [B, ...].

    Returns:
      [B, pieces, ...]; an image alone in its batch gets itself.
    """
    batch = images.shape[0]
    offset = jax.random.randint(key, (batch, pieces), 1, max(batch, 2))
    return jnp.asarray(images)[(jnp.arange(batch)[:, None] + offset) % batch]


def _corner(key, height, width):
    row_key, column_key = jax.random.split(key)
    row = jax.random.randint(row_key, (), 0, height + 1)
    return row, jax.random.randint(column_key, (), 0, width + 1)


def _paste(key, canvas, image):
    height, width, channels = image.shape
    row, column = _corner(key, canvas.shape[0] - height, canvas.shape[1] - width)
    below = jax.lax.dynamic_slice(canvas, (row, column, 0), (height, width, channels))
    return jax.lax.dynamic_update_slice(canvas, jnp.maximum(below, image), (row, column, 0))


def _cut(key, image, side):
    height, width, channels = image.shape
    row, column = _corner(key, height - side, width - side)
    return jax.lax.dynamic_slice(image, (row, column, 0), (side, side, channels))


def shifted(key, images, reach):
    """Moves each image by up to `reach` pixels along each axis; what comes in is black."""
    if not reach:
        return images
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    corners = jax.random.randint(key, (batch, 2), 0, 2 * reach + 1)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (*corner, 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)
