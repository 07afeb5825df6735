"""What is measured of glimpses, row by row, so that policies are compared on the same images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.tasks.attention.glimpses import FIXED, fraction_seen


def classifier_rows(logits, labels):
    """Of M rollouts [M, B, classes]: rows [B], with the probabilities averaged over rollouts.

    Returns:
      'wrong' 1 where the averaged answer is, 'wrong_once' the share of single rollouts that are,
      'nll' the negative log-likelihood of the truth.
    """
    probabilities = jax.nn.softmax(logits)  # [M, B, classes]
    mean = probabilities.mean(0)
    truth = jnp.take_along_axis(mean, labels[:, None], axis=1)[:, 0]
    return {
        "wrong": (mean.argmax(-1) != labels).astype(jnp.float32),
        "wrong_once": (logits.argmax(-1) != labels).mean(0, dtype=jnp.float32),
        "nll": -jnp.log(jnp.maximum(truth, 1e-12)),
    }


def decoder_rows(outputs, pixels):
    """Of M rollouts [M, T + 1, B, H, W, C]: 'mse' and 'psnr', [B, T + 1], means over rollouts.

    Each rollout is judged alone: their mean image would have seen M times as many glimpses.
    """
    truth = pixels.astype(jnp.float32) / 255
    errors = ((jnp.clip(outputs, 0, 1) - truth) ** 2).mean((3, 4, 5))  # [M, T + 1, B]
    decibels = -10 * jnp.log10(jnp.maximum(errors, 1e-10))
    return {"mse": errors.mean(0).T, "psnr": decibels.mean(0).T}


def squared_errors(outputs, pixels):
    """[T + 1, B]: before the first glimpse and after each, of outputs [T + 1, B, H, W, C]."""
    return ((outputs - pixels.astype(jnp.float32) / 255) ** 2).mean((2, 3, 4))


def decoder_loss(outputs, pixels, every_glimpse):
    """The loss of each row, [B], of one rollout's outputs [T + 1, B, H, W, C]."""
    errors = squared_errors(outputs, pixels)
    return errors.mean(0) if every_glimpse else errors[-1]


def where_rows(locations, retina, height, width):
    """Of one rollout [T, B, 2]: 'locations' [B, T, 2] and the shares of the image seen, [B]."""
    return {
        "locations": locations.swapaxes(0, 1),
        "seen": fraction_seen(locations, retina, height, width, len(retina.sides) - 1)[-1],
        "seen_sharp": fraction_seen(locations, retina, height, width, 0)[-1],
    }


def summarize(measured, fitted):
    """Means over a split: under the model's own policy, under each fixed one, and the difference.

    `gain_over_random` is how much better the own policy is than random glimpses of the same
    network, in the metric's unit (share of errors, or dB), `gain_se` the standard error of that
    over images, and `beats_random` 1 where the gain is more than two of them. Names with a '/' are
    details: 'psnr/grid/3' is the grid's PSNR after three glimpses. An exported model is judged by
    its own policy alone.
    """
    rows, values = measured.rows, {}
    policies = [policy for policy in FIXED if f"wrong/{policy}" in rows or f"mse/{policy}" in rows]
    gains = None
    if "wrong/own" in rows:
        values["error"] = _mean(rows["wrong/own"])
        values["error_single"] = _mean(rows["wrong_once/own"])
        values["cross_entropy"] = values["loss"] = _mean(rows["nll/own"])
        values |= {f"error_{policy}": _mean(rows[f"wrong/{policy}"]) for policy in policies}
        if policies:
            gains = rows["wrong/random"] - rows["wrong/own"]
    else:
        values["mse"] = _mean(rows["mse/own"][:, -1])
        values["psnr"] = _mean(rows["psnr/own"][:, -1])
        values["loss"] = _mean(rows["loss"])
        values |= {f"psnr_{policy}": _mean(rows[f"psnr/{policy}"][:, -1]) for policy in policies}
        if policies:
            gains = rows["psnr/own"][:, -1] - rows["psnr/random"][:, -1]
    if gains is not None:
        gain = _mean(gains)
        error = float(np.std(gains, dtype=np.float64) / max(len(gains), 1) ** 0.5)
        beats = float(gain > 2 * error)
        values |= {"gain_over_random": gain, "gain_se": error, "beats_random": beats}
    values |= {"seen": _mean(rows["seen"]), "seen_sharp": _mean(rows["seen_sharp"])}
    for name in ("mse", "psnr") if "mse/own" in rows else ():
        for policy in ("own", *policies):
            after = rows[f"{name}/{policy}"].mean(0, dtype=np.float64)
            values |= {f"{name}/{policy}/{t}": float(value) for t, value in enumerate(after)}
    return values


def psnr_by_glimpse(rows):
    """{policy: float [T + 1]}, dB, means over the split."""
    return {policy: rows[f"psnr/{policy}"].mean(0) for policy in ("own", *FIXED)}


def _mean(values):
    return float(np.mean(values, dtype=np.float64))
