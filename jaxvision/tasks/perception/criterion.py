"""The training criterion of scores, of what the network gives and of what a model predicts."""

import jax.numpy as jnp

from jaxvision import losses
from jaxvision.errors import UserError
from jaxvision.input_pipeline import score_scale


def targets(scale, score):
    """Targets of raw scores, finite even where these are missing, and whether they are known."""
    if score.shape[-1] != len(scale.attributes):
        raise UserError(
            f"the data has {score.shape[-1]} attributes, the model {len(scale.attributes)} "
            f"({', '.join(scale.attributes)}): choose these with data.attributes"
        )
    known = jnp.isfinite(score)
    return score_scale.to_target(scale, jnp.where(known, score, scale.low)), known


def score_errors(name, scale, outputs, thresholds, target):
    """The loss of each score, float32 [B, A].

    Args:
      name: loss.name.
      scale: of the scores.
      outputs: {'value'[, 'log_spread']} of the network, float32 [B, A].
      thresholds: float32 [A, 9], of the ordinal loss alone.
      target: float32 [B, A].
    """
    standard, value = (target - scale.mean) / scale.std, outputs["value"]
    if name == "ordinal":
        return losses.ordinal(value, thresholds, target)
    if name == "gaussian":
        return losses.gaussian_nll(value, outputs["log_spread"], standard)
    return (losses.huber if name == "huber" else losses.squared)(value, standard)


def errors_of_outputs(options, scale, outputs, target):
    """As `score_errors`, from what `Model.predict` gives; 0 where scores have no weight."""
    if not options.scores:
        return jnp.zeros_like(outputs["score"])
    if options.name == "ordinal":
        above = jnp.clip(outputs["above"], 1e-7, 1 - 1e-7)  # [B, A, 9]
        columns = target[..., None] > jnp.arange(1, above.shape[-1] + 1)
        return -jnp.where(columns, jnp.log(above), jnp.log1p(-above)).mean(-1)
    network = {
        "value": (outputs["score"] - scale.mean) / scale.std,
        "log_spread": jnp.log(outputs["spread"] / scale.std),
    }
    return score_errors(options.name, scale, network, None, target)
