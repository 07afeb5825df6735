"""`criterion`, for masks of several classes."""

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.tasks.segmentation.criterion import IGNORE


def outputs(logits):
    """{'probabilities': float32 [B, H, W, K]} of logits of that shape."""
    return {"probabilities": jax.nn.softmax(logits)}


def labels_and_weights(mask):
    """A mask's numbers of classes [B, H, W], and weights, float32 in {0, 1}: 0 for IGNORE."""
    return mask, (mask != IGNORE).astype(jnp.float32)


def criterion(options, logits, labels, weights):
    """The loss of a batch, and its parts {'cross_entropy', 'dice_loss'}; scalars.

    Args:
      options: `config.loss`; of its names 'bce' is the plain cross-entropy.
      logits: float32 [B, H, W, K].
      labels: numbers of classes [B, H, W], of any type; IGNORE is none.
      weights: float32 [B, H, W].
    """
    own = (labels[..., None] == jnp.arange(logits.shape[-1])).astype(jnp.float32)  # [B, H, W, K]
    log_p = jax.nn.log_softmax(logits)
    cross_entropy = losses.weighted_mean(-(own * log_p).sum(-1), weights)
    dice = losses.class_dice(jnp.exp(log_p), own, weights)
    if options.name == "focal_tversky":
        alpha, gamma = options.tversky_alpha, options.tversky_gamma
        loss = losses.class_focal_tversky(jnp.exp(log_p), own, weights, alpha, gamma)
    else:
        loss = cross_entropy + (dice if options.name == "bce_dice" else 0.0)
    return loss, {"cross_entropy": cross_entropy, "dice_loss": dice}
