"""The training criterion of masks, for a training step and for what a model predicted."""

import jax
import jax.numpy as jnp

from jaxvision import losses

IGNORE = 255  # of a mask: the pixel counts nowhere


def outputs(logits):
    """{'probability': of building, float32 [B, H, W]} of logits of that shape."""
    return {"probability": jax.nn.sigmoid(logits)}


def labels_and_weights(mask):
    """Labels and weights, float32 in {0, 1}, of a mask with IGNORE in it."""
    weights = (mask != IGNORE).astype(jnp.float32)
    return (mask == 1).astype(jnp.float32), weights


def criterion(options, logits, labels, weights):
    """The loss of a batch, and its parts {'cross_entropy', 'dice_loss'}; scalars.

    Args:
      options: `config.loss`.
      logits, labels, weights: float32 [B, H, W].
    """
    cross_entropy = losses.binary_cross_entropy(logits, labels, weights)
    dice = losses.soft_dice(logits, labels, weights)
    if options.name == "focal_tversky":
        alpha, gamma = options.tversky_alpha, options.tversky_gamma
        loss = losses.focal_tversky(logits, labels, weights, alpha, gamma)
    else:
        loss = cross_entropy + (dice if options.name == "bce_dice" else 0.0)
    return loss, {"cross_entropy": cross_entropy, "dice_loss": dice}
