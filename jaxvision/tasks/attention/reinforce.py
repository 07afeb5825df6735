"""REINFORCE (Williams 1992) for sampled glimpse locations; pure functions, all [T, B].

T is the number of glimpses, B the batch. `reinforce_gradient` is the gradient itself; the train
step gets it through `policy_loss`, whose derivative it is.
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

    # Unrolled, it is one kernel on a GPU; as a loop some for each glimpse.
    nothing = jnp.zeros_like(rewards[0])
    return jax.lax.scan(add, nothing, rewards, reverse=True, unroll=True)[1]


def normalized(returns):
    """Returns with mean 0 and standard deviation 1 over the batch, glimpse by glimpse."""
    centred = returns - returns.mean(1, keepdims=True)
    return centred / (jnp.sqrt((centred**2).mean(1, keepdims=True)) + 1e-8)


def reinforce_gradient(means, log_stds, sampled, advantages):
    """Williams' estimate of the gradient of the expected return: grad log pi(sampled) * advantage.

    The advantage is a constant here, whatever it was computed from: the baseline does not learn,
    and a reward that the network itself computed sends no gradient back into it.

    Args:
      means, log_stds: [T, B, 2], of the Gaussians that the locations were drawn from.
      sampled: [T, B, 2], the locations before they were clipped.
      advantages: [T, B], return less baseline.

    Returns:
      gradients with respect to means and log_stds, [T, B, 2] each: of the log-probabilities
      weighted by the advantages, summed over glimpses, averaged over the batch.
    """

    def weighted_log_probability(means, log_stds):
        return (gaussian_log_prob(sampled, means, log_stds) * advantages).sum(0).mean()

    return jax.grad(weighted_log_probability, argnums=(0, 1))(means, log_stds)


@jax.custom_vjp
def policy_loss(means, log_stds, sampled, advantages):
    """A scalar to be made small whose derivative is minus `reinforce_gradient`; the same arguments.

    Backpropagation takes it from the Gaussians to the parameters behind them, on the same way down
    as the gradients of the other losses, so the policy costs no pass of its own.
    """
    return -(gaussian_log_prob(sampled, means, log_stds) * advantages).sum(0).mean()


def _policy_loss_forward(means, log_stds, sampled, advantages):
    gradients = reinforce_gradient(means, log_stds, sampled, advantages)
    return policy_loss(means, log_stds, sampled, advantages), (gradients, sampled, advantages)


def _policy_loss_backward(residuals, cotangent):
    (of_means, of_log_stds), sampled, advantages = residuals
    constants = jnp.zeros_like(sampled), jnp.zeros_like(advantages)
    return -cotangent * of_means, -cotangent * of_log_stds, *constants


policy_loss.defvjp(_policy_loss_forward, _policy_loss_backward)


def over_means(returns):
    """Advantages over what the same images earn at the policy's means: self-critical training.

    Rennie et al. 2017, arXiv 1612.00563. Much of what an image earns is the image's own and not
    that of where it is looked at; it is not in the difference of two rollouts at one image.

    Args:
      returns: [T, 2 B], of B images whose locations were drawn, and of the same at the means.

    Returns:
      [T, B].
    """
    drawn, at_means = jnp.split(returns, 2, axis=1)
    return drawn - at_means


def baseline_loss(returns, baselines):
    """Mean squared error of the baseline; the return is a constant."""
    return ((jax.lax.stop_gradient(returns) - baselines) ** 2).mean()


def gaussian_entropy(log_stds):
    """Entropy of the policy's Gaussians, nats, [T, B] of log_stds [T, B, 2]."""
    return (log_stds + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(-1)
