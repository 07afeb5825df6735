"""REINFORCE (Williams 1992) for sampled glimpse locations; pure functions, all [T, B].

T is the number of glimpses, B the batch. The gradient is `jax.grad` of `policy_loss` with respect
to the parameters behind means and log_stds: the advantage is held constant there.
"""

import jax
import jax.numpy as jnp


def gaussian_log_prob(sampled, means, log_stds):
    """log N(sampled; mean, std), summed over x and y.

    `sampled` is what the Gaussian gave, before it was clipped to the image: clipping is done by the
    world, and the density of what is clipped would be another one.

    Args:
      sampled, means, log_stds: [T, B, 2]; `sampled` is held constant.

    Returns:
      [T, B].
    """
    z = (jax.lax.stop_gradient(sampled) - means) / jnp.exp(log_stds)
    return (-0.5 * z**2 - log_stds - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


def rewards_to_go(rewards, discount):
    """The return of each location: its glimpse's reward and the discounted rewards after it.

    Args:
      rewards: [T, B], what glimpse t brought.
      discount: per glimpse, in [0, 1].
    """

    def add(later, reward):
        total = reward + discount * later
        return total, total

    return jax.lax.scan(add, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]


def normalized(returns):
    """Returns with mean 0 and standard deviation 1 over the batch, glimpse by glimpse."""
    centred = returns - returns.mean(1, keepdims=True)
    return centred / (jnp.sqrt((centred**2).mean(1, keepdims=True)) + 1e-8)


def policy_loss(log_probs, returns, baselines):
    """Minus the objective whose gradient is REINFORCE's: log pi * (return - baseline).

    The advantage is a constant: the baseline does not learn here, and a reward that was computed
    by the network sends no gradient back into it.

    Returns:
      a scalar: summed over glimpses, averaged over the batch.
    """
    advantages = jax.lax.stop_gradient(returns - baselines)
    return -(log_probs * advantages).sum(0).mean()


def baseline_loss(returns, baselines):
    """Mean squared error of the baseline; the return is a constant."""
    return ((jax.lax.stop_gradient(returns) - baselines) ** 2).mean()


def gaussian_entropy(log_stds):
    """Entropy of the policy's Gaussians, nats, [T, B] of log_stds [T, B, 2]."""
    return (log_stds + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(-1)
