"""A network that scores photos: an encoder, and heads with one value an attribute.

How a street feels is in its materials, colours and light as much as in what stands there, and the
last map of a network that learned to tell objects has let go of these. The scorer looks at the
means of the encoder's map at every stride, in which style transfer finds a picture's style (Huang
and Belongie 2017, arXiv 1703.06868). Several heads that begin differently are right more often than
one, and where they disagree none is sure (deep ensembles, Lakshminarayanan et al. 2017, arXiv
1612.01474).
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.models.norm import batch_norm
from jaxvision.models.pool import MeanPool

DECILE_ODDS = np.log(np.arange(1, 10) / (10 - np.arange(1, 10)))  # logits of .1 to .9


class Head(nn.Module):
    """Pooled features [B, C] to {name: float32 [B, A]}; see Scorer for the names.

    Features of different maps differ in size a hundredfold, so batch norm comes first.
    """

    attributes: int
    hidden: Sequence[int] = (512, 256)
    dropout: float = 0.0
    spread: bool = False
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features, train: bool):
        x = batch_norm(train, (), name="features_bn", momentum=self.bn_momentum, dtype=self.dtype)(
            features
        )
        for i, width in enumerate(self.hidden):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{i}")(x))
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
    """Images [B, H, W, 3] in [0, 255], or their features, to {name: float32 [M, B, A]}, M heads.

    'value' is a score in standard deviations of the training split's (for votes, up to a factor and
    an offset); 'log_spread', where asked for, is the logarithm of its standard deviation.

    Attributes:
      encoder: images -> {stride: map [B, H, W, C]}.
      heads: each features [B, C] -> {name: float32 [B, A]}.
      thresholds: learn where deciles part on the value's axis (`decile_thresholds`).
      votes: learn how votes follow from differences of values (`vote_scale`).
    """

    encoder: nn.Module
    heads: Sequence[Head]
    thresholds: bool = False
    votes: bool = False

    def setup(self):
        attributes = self.heads[0].attributes
        self.last_pool = MeanPool()  # Grad-CAM looks at its input
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
        return self.score_features(self.features(images, train), train)

    def features(self, images, train: bool):
        """The mean of every map, side by side: [B, C]."""
        maps = self.encoder(images, train)
        *earlier, last = sorted(maps)
        means = [maps[stride].mean(axis=(1, 2)) for stride in earlier]
        return jnp.concatenate([*means, self.last_pool(maps[last])], axis=-1)

    def score_features(self, features, train: bool):
        """As __call__, from features."""
        outputs = [head(features, train) for head in self.heads]
        return {name: jnp.stack([output[name] for output in outputs]) for name in outputs[0]}

    def decile_thresholds(self):
        """Increasing thresholds, float32 [A, 9]: P(decile > k) = sigmoid(value - thresholds[k])."""
        steps = self.decile_steps.reshape(self.heads[0].attributes, -1)  # [A, 9]
        rising = jnp.concatenate([steps[:, :1], nn.softplus(steps[:, 1:])], axis=1)
        return jnp.cumsum(rising, axis=1)

    def vote_scale(self):
        """(slope, log tie), float32 [A] each, of `losses.votes`."""
        return jnp.exp(self.log_slope), self.log_tie
