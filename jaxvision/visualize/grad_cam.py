"""Where a convolutional network looks: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def grad_cam(score: Callable[[Any], Any], images: Any, layer: str) -> jax.Array:
    """How much each place of a feature map raises a score.

    Works with any linen model, for a class (its logit) as for a regression (the output itself): the
    map is caught while `score` runs, so the model need not be taken apart. Runs under jit.

    Args:
      score: images -> float [B], through `Module.apply`; each entry depends on its own image alone.
      images: [B, H, W, C], as the model takes them.
      layer: name of the linen module whose input is looked at, as 'conv5_block3_2_conv', or the end
        of its path, as 'encoder/pool'; an encoder's `cam_layer` takes its last map. Called several
        times, the last call counts.

    Returns:
      float32 [B, H, W] in [0, 1]; 0 where nothing raises the score, 1 at each image's strongest
      place (all 0 where there is none).

    Raises:
      ValueError: no module of that name ran, or its input is no map.
    """
    shapes = jax.eval_shape(lambda: _maps_of(score, images, layer, None)[1])

    def total(delta):
        scores, maps = _maps_of(score, images, layer, delta)
        return scores.sum(), maps

    zeros = jnp.zeros(shapes.shape, shapes.dtype)
    gradients, maps = jax.grad(total, has_aux=True)(zeros)  # [B, h, w, C]
    weights = gradients.astype(jnp.float32).mean(axis=(1, 2), keepdims=True)
    heat = nn.relu((weights * maps.astype(jnp.float32)).sum(axis=-1))  # [B, h, w]
    heat = jax.image.resize(heat, (len(heat), *images.shape[1:3]), "linear")
    return heat / jnp.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def _maps_of(score, images, layer, delta):
    """The scores, and the map at `layer`, to which `delta` is added on its way."""
    maps = []

    def watch(following, arguments, keywords, context):
        path = "/".join(context.module.path)
        if context.method_name != "__call__" or not f"/{path}".endswith(f"/{layer}"):
            return following(*arguments, **keywords)
        if not arguments or getattr(arguments[0], "ndim", 0) != 4:
            raise ValueError(f"layer {path!r} takes no map [B, H, W, C]")
        maps.append(arguments[0])
        moved = arguments[0] if delta is None else arguments[0] + delta
        return following(moved, *arguments[1:], **keywords)

    with nn.intercept_methods(watch):
        scores = score(images)
    if not maps:
        raise ValueError(f"no layer {layer!r} ran: give the name of a module of the model")
    return scores, maps[-1]
