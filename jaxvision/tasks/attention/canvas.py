"""Images on a larger canvas: anew at every training step, always at one place in evaluation."""

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvision.input_pipeline.augment import clutter

# Evaluation puts image i of a split always at the same place, whatever the seed of the run.
CANVAS_SEED = 20140624


def augment(config: ConfigDict, key: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Puts training images on a canvas, anew each time, and shifts them."""
    place_key, other_key, shift_key = jax.random.split(key, 3)
    keys = jax.random.split(place_key, batch["image"].shape[0])
    others = clutter.other_images(other_key, batch["image"], config.canvas.clutter)
    pixels = _on_canvas(config, keys, others, batch["image"])
    return {**batch, "image": clutter.shifted(shift_key, pixels, config.augment.shift)}


def evaluation_images(config: ConfigDict, batch: dict[str, Any]) -> Any:
    """The images of evaluation: on a canvas like those of training, but always at one place.

    Clutter is cut from the batch's 'pieces' (`pieces.with_pieces`), so no image depends on those
    beside it.
    """
    key = jax.random.key(CANVAS_SEED)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch["index"])
    pixels = batch["image"]
    others = batch["pieces"] if config.canvas.clutter else pixels[:, None][:, :0]
    return _on_canvas(config, keys, others, pixels)


def _on_canvas(config, keys, others, pixels):
    """`others` uint8 [B, pieces, h, w, C]: what pieces are cut from."""
    canvas = config.canvas
    if not canvas.size:
        return pixels
    return clutter.on_canvas(keys, pixels, others, canvas.size, canvas.clutter, canvas.clutter_size)
