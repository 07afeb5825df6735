"""Recurrent attention (Mnih et al. 2014, arXiv 1406.6247): a few glimpses in place of an image.

Locations as in `retina`.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.models.retina import Retina, corner_pixels, pooled_square, spread_points

CORES = {
    "rnn": functools.partial(nn.SimpleCell, activation_fn=nn.relu),  # the paper's
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


class Rollout(NamedTuple):
    """T glimpses at a batch of B images.

    Attributes:
      locations: [T, B, 2], where the retina was put; constants to every gradient.
      sampled: [T, B, 2], what the policy drew, before it was clipped to the image; constants too.
      means, log_stds: [T, B, 2], of the Gaussians that it was drawn from.
      baselines: [T, B], the return expected before each glimpse.
      outputs: logits [B, classes], or the image as far as it was known before the first and after
        each glimpse, [T + 1, B, H, W, C] in [0, 1] but for over- and undershoot.
    """

    locations: jax.Array
    sampled: jax.Array
    means: jax.Array
    log_stds: jax.Array
    baselines: jax.Array
    outputs: jax.Array


def pad(retina: Retina, images):
    """[B, H, W, C] -> larger by half of the largest square on every side, with zeros.

    Once a batch: then no glimpse reaches beyond what there is.
    """
    side = retina.sides[-1]
    before, after = side // 2, side - side // 2
    return jnp.pad(images, ((0, 0), (before, after), (before, after), (0, 0)))


def look(retina: Retina, padded, locations):
    """Cuts out the squares around the pixels nearest to `locations`.

    Args:
      padded: uint8 images, from `pad`.
      locations: [B, 2].

    Returns:
      float32 [B, patches, size, size, C] in [0, 1]; zero beyond the image's border.
    """
    side = retina.sides[-1]

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (side, side, image.shape[2]))

    corners = corner_pixels(locations, padded.shape[1] - side, padded.shape[2] - side)
    window = jax.vmap(cut)(padded, corners).astype(jnp.float32) / 255  # [B, side, side, C]
    return jnp.stack([pooled_square(retina, window, s) for s in retina.sides], axis=1)


def _unrolled(glimpses: int) -> int:
    """How many glimpses a turn of the loop holds.

    A glimpse's kernels are so small that a GPU spends much of a turn on what only the loop needs:
    its counter, and cutting from and writing into what is kept of all glimpses.
    """
    return 1 if jax.default_backend() == "cpu" else min(glimpses, 10)


class Glimpse(nn.Module):
    """One glimpse: look, remember, and say where to look next.

    Attributes: as of RAM.
    """

    retina: Retina
    core: str
    hidden: int
    widths: Sequence[int]
    std: float
    learn_std: bool
    heads_train_core: bool
    policy_sees: str
    dtype: Any

    @nn.compact
    def __call__(self, state, noise, given, start, padded):
        """One step of the scan.

        Args:
          state: (core's carry, mean [B, 2], log_std [B, 2]) of the location to come.
          noise: standard normal [B, 2].
          given: [B, 2], where to look in place of the policy's choice; None: the policy's.
          start: [2], where the mean of the next location starts to learn, before tanh; None: 0.
          padded: the images, from `Retina.pad`.

        Returns:
          the next state, and (place, sampled, mean, log_std, hidden) of this glimpse.
        """
        carry, mean, log_std = state
        sampled = mean + jnp.exp(log_std) * noise if given is None else given
        # REINFORCE moves the mean through the log-probability alone. What was drawn is a fact: no
        # gradient goes back through it, neither to the policy nor through where the retina was put.
        sampled = jax.lax.stop_gradient(sampled)
        place = jnp.clip(sampled, -1.0, 1.0)
        patches = look(self.retina, padded, place)  # [B, patches, size, size, C]
        pixels = patches.reshape(patches.shape[0], -1)
        glimpse = self._describe(pixels, place)
        carry, hidden = CORES[self.core](self.hidden, dtype=self.dtype, name="core")(carry, glimpse)
        seen = hidden if self.heads_train_core else jax.lax.stop_gradient(hidden)
        # REINFORCE is noise for the most part, and Adam's steps are as large for noise: plain
        # weights on a ReLU state that grows drive tanh to its ends within a few epochs, where no
        # gradient brings it back and every glimpse falls on one corner. On a state of unit size,
        # with the layer's scale outside its weights, a step moves the mean a sixteenth as far.
        # Without `start` every mean begins near the middle: from far out, half never come back.
        seen = seen.astype(jnp.float32)
        seen /= jnp.sqrt((seen**2).mean(-1, keepdims=True) + 1e-6)
        if self.policy_sees == "glimpse":
            # A classifier's state forgets where the thing is; the last patches and their place tell
            # it by a weighted sum, which this layer can learn.
            seen = jnp.concatenate([seen, 3 * pixels, place], axis=-1)
        location = nn.Dense(2, name="location", kernel_init=nn.initializers.normal(0.1))
        next_mean = location(seen) / self.hidden**0.5
        next_mean = jnp.tanh(next_mean if start is None else next_mean + start)
        next_log_std = jnp.full_like(next_mean, jnp.log(self.std))
        if self.learn_std:
            next_log_std += nn.Dense(2, name="spread", kernel_init=nn.initializers.zeros)(seen)
        after = (carry, next_mean, next_log_std)
        return after, (place, sampled, mean, log_std, hidden)

    def _describe(self, what, location):
        """The glimpse network: what was seen and where, [B, what + where]."""
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        what_width, where_width, width = self.widths
        what = nn.relu(dense(what_width, name="what")(what))
        where = nn.relu(dense(where_width, name="where")(location))
        both = dense(width, name="from_what")(what) + dense(width, name="from_where")(where)
        return nn.relu(both)


class RAM(nn.Module):
    """Images uint8 [B, H, W, C] to a `Rollout`.

    The core learns through the head alone. The location and baseline heads see its state as a
    constant, as in the paper, unless `heads_train_core`.

    Attributes:
      head: 'classifier', at the last glimpse, or 'decoder', at every glimpse, whose outputs add up
        to the reconstruction.
      classes: of the classifier.
      shape: (H, W, C) of the decoder's images.
      glimpses: T.
      size, patches, scale: of the `Retina`.
      core: 'rnn' (ReLU), 'lstm' or 'gru'.
      hidden: width of the core.
      widths: of the glimpse network: what, where, both.
      decoder_width: hidden units of the decoder.
      first: where the first glimpse goes: 'random' (uniform), 'learned' or 'centre'.
      std: of the policy's Gaussian, in units of half an image.
      learn_std: the location network also says the std; `std` is where it starts.
      heads_train_core: let the gradients of location and baseline heads into the core.
      start: of the policy's means: 'middle', all near it, or 'spread': each glimpse's at a place of
        its own, which is learned too.
      policy_sees: 'state', the core's alone, as in the paper, or 'glimpse', that and the pixels and
        the place of the last glimpse.
      dtype: of the compute; parameters, locations and outputs are float32.
    """

    head: str
    classes: int
    shape: Sequence[int]
    glimpses: int = 6
    size: int = 8
    patches: int = 1
    scale: int = 2
    core: str = "rnn"
    hidden: int = 256
    widths: Sequence[int] = (128, 128, 256)
    decoder_width: int = 256
    first: str = "random"
    std: float = 0.05
    learn_std: bool = False
    heads_train_core: bool = False
    start: str = "middle"
    policy_sees: str = "state"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, key, given=None, alike=False, noise_scale=1.0):
        """Looks `glimpses` times.

        Args:
          images: uint8 [B, H, W, C].
          key: draws the first location and the policy's noise.
          given: [T, B, 2], locations that take the policy's place.
          alike: every image gets the same noise, so that none depends on those beside it.
          noise_scale: a number or [B, 1], times the policy's noise; 0: at its means.
        """
        batch, retina = images.shape[0], Retina(self.size, self.patches, self.scale)
        noise_key, first_key = jax.random.split(key)
        draws = 1 if alike else batch
        noise = jax.random.normal(noise_key, (self.glimpses, draws, 2))
        noise = noise_scale * jnp.broadcast_to(noise, (self.glimpses, batch, 2))
        mean, log_std = self._first(first_key, batch, draws)
        state = (self._empty_core(batch), mean, log_std)
        step = nn.scan(
            Glimpse,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(0, 0, 0, nn.broadcast),
            unroll=_unrolled(self.glimpses),
        )(
            retina,
            self.core,
            self.hidden,
            self.widths,
            self.std,
            self.learn_std,
            self.heads_train_core,
            self.policy_sees,
            self.dtype,
            name="glimpse",
        )
        _, seen = step(state, noise, given, self._starts(), pad(retina, images))
        locations, sampled, means, log_stds, hidden = seen
        return Rollout(
            locations, sampled, means, log_stds, self._baselines(hidden), self._outputs(hidden)
        )

    def _first(self, key, batch, draws):
        """Mean and log std of the first location, [B, 2] each; std 0 where it is not learned.

        `draws`: how many random ones, B or 1.
        """
        if self.first == "learned":
            mean = jnp.tanh(self.param("first_location", nn.initializers.zeros, (2,)))
            return jnp.broadcast_to(mean, (batch, 2)), jnp.full((batch, 2), jnp.log(self.std))
        mean = jnp.zeros((batch, 2))
        if self.first == "random":
            mean = jax.random.uniform(key, (draws, 2), minval=-1.0, maxval=1.0)
            mean = jnp.broadcast_to(mean, (batch, 2))
        return mean, jnp.full((batch, 2), -jnp.inf)

    def _starts(self):
        """[T, 2], where the means of the locations after each glimpse start, before tanh."""
        if self.start == "middle":
            return None
        # After the last glimpse nothing follows: that row is never learned.
        points = np.arctanh(spread_points(self.glimpses + 1)[1:])
        return self.param("starts", lambda key: jnp.asarray(points))

    def _empty_core(self, batch):
        shape = (batch, self.hidden)
        cell = CORES[self.core](self.hidden, dtype=self.dtype, parent=None)
        carry = cell.initialize_carry(jax.random.key(0), shape)  # zeros
        return jax.tree.map(lambda array: array.astype(self.dtype), carry)

    def _baselines(self, hidden):
        """[T, B] of hidden [T, B, hidden]: before each glimpse only the one before it is known."""
        before = jnp.concatenate([jnp.zeros_like(hidden[:1]), hidden[:-1]])
        if not self.heads_train_core:
            before = jax.lax.stop_gradient(before)
        return nn.Dense(1, name="baseline")(before.astype(jnp.float32))[..., 0]

    def _outputs(self, hidden):
        if self.head == "classifier":
            last = hidden[-1].astype(jnp.float32)
            return nn.Dense(self.classes, name="classifier")(last)  # [B, classes]
        steps, batch, _ = hidden.shape
        size = self.shape[0] * self.shape[1] * self.shape[2]
        # Not a ReLU: the state grows from glimpse to glimpse, and after the fifth no unit was left
        # that drew anything. What draws nothing learns nothing, and earns the policy nothing.
        x = nn.Dense(self.decoder_width, dtype=self.dtype, name="decoder_hidden")(hidden)
        x = nn.leaky_relu(x, 0.1)
        # The sum of what is drawn at each glimpse is what the sum draws, the last layer being
        # linear: to add up here, before it is as wide as the image, saves half of the time.
        x = jnp.cumsum(jnp.concatenate([jnp.zeros_like(x[:1]), x]), axis=0)
        drawn = nn.Dense(size, use_bias=False, dtype=self.dtype, name="decoder")(x)
        # What is assumed of an image nobody has looked at: in the end about the mean image.
        blank = self.param("blank", nn.initializers.constant(0.5), (size,))
        return (blank + drawn.astype(jnp.float32)).reshape(steps + 1, batch, *self.shape)
