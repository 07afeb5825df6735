"""Losses on logits, weighted per element; every function is pure and runs under jit."""

import jax
import jax.numpy as jnp


def weighted_mean(values, weights):
    """Mean of `values` where `weights` (same shape, >= 0) count; 0 where nothing counts."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1e-6)


def binary_cross_entropy(logits, labels, weights):
    """Mean binary cross-entropy. logits, labels in {0, 1} and weights share one shape."""
    return weighted_mean(sigmoid_cross_entropy(logits, labels), weights)


def sigmoid_cross_entropy(logits, labels):
    """Binary cross-entropy of each element; here, as optax is not there where models are used."""
    return -labels * jax.nn.log_sigmoid(logits) - (1.0 - labels) * jax.nn.log_sigmoid(-logits)


def soft_dice(logits, labels, weights, smooth=1.0):
    """1 - Dice coefficient of the probabilities, over all elements of the batch together.

    Milletari et al. 2016 (arXiv 1606.04797), with the plain sums of Drozdzal et al. 2016.
    """
    probability = jax.nn.sigmoid(logits) * weights
    labels = labels * weights
    overlap = (probability * labels).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + labels.sum() + smooth)


def class_cross_entropy(logits, labels, smoothing=0.0, focal_gamma=0.0):
    """Cross-entropy of class labels, one value a row; focal (arXiv 1708.02002) for gamma > 0.

    Args:
      logits: float [B, K].
      labels: int [B].
      smoothing: share of the label that is spread over all K classes (arXiv 1512.00567).
      focal_gamma: a row counts (1 - its label's probability) ** gamma.

    Returns:
      float [B].
    """
    log_p = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    loss = -(1 - smoothing) * own - smoothing * log_p.mean(axis=1)
    if not focal_gamma:
        return loss
    # The gradient of x ** gamma is infinite at 0 for gamma < 1.
    return loss * jnp.maximum(-jnp.expm1(own), 1e-6) ** focal_gamma


def class_dice(probabilities, labels, weights, smooth=1.0):
    """1 - Dice coefficient as in `soft_dice`, the mean over classes.

    Args:
      probabilities: float [..., K].
      labels: of the same shape, one-hot.
      weights: float [...], >= 0.
    """
    overlap, predicted, true = _class_sums(probabilities, labels, weights)
    return (1 - (2 * overlap + smooth) / (predicted + true + smooth)).mean()


def class_focal_tversky(probabilities, labels, weights, alpha, gamma, smooth=1.0):
    """`focal_tversky` of each class against the others, the mean over classes; as `class_dice`."""
    hits, predicted, true = _class_sums(probabilities, labels, weights)
    missed, false = true - hits, predicted - hits
    index = (hits + smooth) / (hits + alpha * missed + (1 - alpha) * false + smooth)
    return (jnp.maximum(1 - index, 1e-6) ** gamma).mean()


def _class_sums(probabilities, labels, weights):
    """Of each class the sum of what is both, of the probability and of the label: [K] each."""
    axes = tuple(range(weights.ndim))
    probabilities, labels = probabilities * weights[..., None], labels * weights[..., None]
    return (probabilities * labels).sum(axes), probabilities.sum(axes), labels.sum(axes)


def focal_tversky(logits, labels, weights, alpha, gamma, smooth=1.0):
    """(1 - Tversky index) ** gamma (Abraham and Khan 2018, arXiv 1810.07842).

    Args:
      logits, labels, weights: one shape.
      alpha: weight of false negatives; false positives get 1 - alpha.
      gamma: below 1 dwells on what is nearly right, above 1 on what is wrong.
      smooth: keeps the index defined where nothing is labelled.
    """
    probability = jax.nn.sigmoid(logits)
    hits = (probability * labels * weights).sum()
    missed = ((1 - probability) * labels * weights).sum()
    false = (probability * (1 - labels) * weights).sum()
    index = (hits + smooth) / (hits + alpha * missed + (1 - alpha) * false + smooth)
    # The gradient of x ** gamma is infinite at 0 for gamma < 1.
    return jnp.maximum(1 - index, 1e-6) ** gamma


def squared(predicted, targets):
    """Squared error of each element."""
    return jnp.square(predicted - targets)


def huber(predicted, targets, delta=1.0):
    """Huber's loss of each element: quadratic up to an error of `delta`, linear beyond."""
    errors = jnp.abs(predicted - targets)
    quadratic = jnp.minimum(errors, delta)  # Huber 1964
    return 0.5 * quadratic**2 + delta * (errors - quadratic)


def gaussian_nll(predicted, log_spread, targets):
    """-log N(target; predicted, exp(log_spread)) of each element, less the constant."""
    return 0.5 * jnp.square((targets - predicted) * jnp.exp(-log_spread)) + log_spread


def ordinal(value, thresholds, ranks):
    """Cross-entropy of the cumulative logit model (McCullagh 1980), each `rank > k` a question.

    Args:
      value: float32 [..., A].
      thresholds: float32 [A, K - 1], increasing: P(rank > k) = sigmoid(value - thresholds[k - 1]).
      ranks: [..., A], 1 to K.

    Returns:
      [..., A], the mean over the K - 1 questions.
    """
    above = (ranks[..., None] > jnp.arange(1, thresholds.shape[-1] + 1)).astype(jnp.float32)
    logits = value[..., None] - thresholds  # [..., A, K - 1]
    return sigmoid_cross_entropy(logits, above).mean(-1)


def paired_comparison(difference, log_tie, counts):
    """Negative log likelihood of votes: Bradley-Terry with ties (Davidson 1970, JASA 65).

    Strengths exp(value) win, lose and draw in the proportion p : q : exp(log_tie) sqrt(p q).

    Args:
      difference: first value less second, [..., A].
      log_tie: [A].
      counts: [..., A, 3], how often the first, the second and neither was chosen.

    Returns:
      [..., A], summed over the votes.
    """
    draw = jnp.broadcast_to(log_tie, difference.shape)
    logits = jnp.stack([difference / 2, -difference / 2, draw], axis=-1)
    return -(counts * jax.nn.log_softmax(logits, axis=-1)).sum(-1)
