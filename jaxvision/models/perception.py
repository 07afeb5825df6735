"""A network that scores photos: an encoder, two hidden layers, and one value an attribute."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

DECILE_ODDS = np.log(np.arange(1, 10) / (10 - np.arange(1, 10)))  # logits of .1 to .9


class Head(nn.Module):
    """Pooled features [B, C] to {name: float32 [B, A]}; see Scorer for the names."""

    attributes: int
    hidden: Sequence[int] = (512, 256)
    dropout: float = 0.0
    spread: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features, train: bool):
        x = features.astype(self.dtype)
        for i, width in enumerate(self.hidden):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            init = nn.initializers.he_normal()
            x = nn.relu(nn.Dense(width, dtype=self.dtype, kernel_init=init, name=f"hidden{i}")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # Small at first: every photo starts at the mean.
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        count = self.attributes * (2 if self.spread else 1)
        x = nn.Dense(count, dtype=self.dtype, kernel_init=small, name="out")(x).astype(jnp.float32)
        outputs = {"value": x[:, : self.attributes]}
        if self.spread:
            # Wider than any score is uncertain: a photo unlike all others must not end in infinity.
            outputs["log_spread"] = jnp.clip(x[:, self.attributes :], -4.0, 3.0)
        return outputs


class Scorer(nn.Module):
    """Images [B, H, W, 3] in [0, 255], or their features, to {name: float32 [B, A]}.

    'value' is a score in standard deviations of the training split's (for votes, up to a factor and
    an offset); 'log_spread', where asked for, is the logarithm of its standard deviation.

    Attributes:
      encoder: images -> pooled features [B, C].
      head: features -> outputs.
      thresholds: learn where deciles part on the value's axis (`decile_thresholds`).
      votes: learn how votes follow from differences of values (`vote_scale`).
    """

    encoder: nn.Module
    head: Head
    thresholds: bool = False
    votes: bool = False

    def setup(self):
        attributes = self.head.attributes
        if self.thresholds:
            # The first threshold and the steps from each to the next, so that they stay in order;
            # in one axis, so that weight decay leaves them alone.
            steps = np.log(np.expm1(np.diff(DECILE_ODDS)))
            start = np.tile(np.concatenate([DECILE_ODDS[:1], steps]), attributes)
            self.decile_steps = self.param("decile_steps", lambda key: jnp.float32(start))
        if self.votes:
            self.log_slope = self.param("vote_log_slope", nn.initializers.zeros, (attributes,))
            self.log_tie = self.param("vote_log_tie", nn.initializers.zeros, (attributes,))

    def __call__(self, images, train: bool):
        return self.head(self.encoder(images, train), train)

    def features(self, images, train: bool):
        """Pooled features, float32 [B, C]."""
        return self.encoder(images, train)

    def score_features(self, features, train: bool):
        """As __call__, from features."""
        return self.head(features, train)

    def decile_thresholds(self):
        """Increasing thresholds, float32 [A, 9]: P(decile > k) = sigmoid(value - thresholds[k])."""
        steps = self.decile_steps.reshape(self.head.attributes, -1)  # [A, 9]
        rising = jnp.concatenate([steps[:, :1], nn.softplus(steps[:, 1:])], axis=1)
        return jnp.cumsum(rising, axis=1)

    def vote_scale(self):
        """(slope, log tie), float32 [A] each, of `losses.votes`."""
        return jnp.exp(self.log_slope), self.log_tie
