"""What a classifier is trained to make small."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision import losses

CLASS_WEIGHTS = ("none", "balanced", "sqrt")


def class_weights(kind: str, counts: list[int]) -> np.ndarray:
    """The weight of each class in the loss, float32 [K], 1 in the mean over the training rows.

    'balanced': inverse to how often train has the class; 'sqrt': to its square root; 'none': 1.
    """
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[kind]
    counts = np.maximum(np.asarray(counts, np.float64), 1.0)
    weights = counts**-power
    return (weights * counts.sum() / (weights @ counts)).astype(np.float32)


def row_losses(options: ConfigDict, weights: np.ndarray, logits, labels):
    """The loss of each row, float32 [B].

    Args:
      options: config.loss.
      weights: of the classes, float32 [K].
      logits: float32 [B, K].
      labels: int32 [B].
    """
    gamma = options.focal_gamma if options.name == "focal" else 0.0
    entropy = losses.class_cross_entropy(logits, labels, options.label_smoothing, gamma)
    return jnp.asarray(weights)[labels] * entropy
