"""The convolutions that `jaxvision.models.conv` rewrites on CPU, beside XLA's own.

python -m benchmarks.convolutions

Each case in all its forms, in turn, several rounds; the medians count. They are the figures in the
docstring of `jaxvision/models/conv.py`. float32, on all CPU threads.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from jax import lax

from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from jaxvision.models import conv

FLAGS = flags.FLAGS


class Case(NamedTuple):
    """One convolution, stride 1, SAME.

    Attributes:
      image: [B, H, W, C].
      kernel: [kh, kw, C / groups, O].
      weights_only: time the weight gradient alone; else the output and both gradients.
      forms: {name: a function like lax.conv_general_dilated}.
    """

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    weights_only: bool
    forms: dict[str, Callable]


def _taps(lhs, rhs, window_strides, **kwargs):
    """The shifted multiply-adds over the whole batch at once."""
    del kwargs
    geometry = conv.Geometry(window_strides, ((1, 1), (1, 1)))
    return conv._depthwise(lhs, rhs, conv.Options(geometry, lhs.shape[3], None, None))


FORMS = {"lax": lax.conv_general_dilated, "ours": conv.conv_general_dilated}
CASES = {
    "depthwise 3x3, with gradients": Case(
        (8, 64, 64, 96), (3, 3, 1, 96), False, {**FORMS, "ours, whole batch": _taps}
    ),
    "3x3 on a 2x2 map, with gradients": Case((64, 2, 2, 512), (3, 3, 512, 512), False, FORMS),
    "1x1, weight gradient": Case((8, 64, 64, 16), (1, 1, 16, 96), True, FORMS),
    "3x3, weight gradient": Case((8, 64, 64, 160), (3, 3, 160, 32), True, FORMS),
}


def contestant(case: Case, form: Callable) -> Contestant:
    """Runs one form of a case; a piece is one call."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=case.image), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=case.kernel), jnp.float32)
    groups = case.image[3] // case.kernel[2]
    gradient = jnp.asarray(rng.normal(size=(*case.image[:3], case.kernel[3])), jnp.float32)
    convolve = functools.partial(
        form,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=conv.NHWC,
        feature_group_count=groups,
    )

    @jax.jit
    def call(image, kernel, gradient):
        if case.weights_only:
            return jax.vjp(lambda kernel: convolve(image, kernel), kernel)[1](gradient)
        output, pull = jax.vjp(convolve, image, kernel)
        return output, pull(gradient)

    def run(count):
        for _ in range(count):
            jax.block_until_ready(call(image, kernel, gradient))
        return count

    return Contestant(run)


def measure(cases: dict[str, Case], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """{case: {form: milliseconds a call}}."""
    found = {}
    for name, case in cases.items():
        forms = {form: contestant(case, function) for form, function in case.forms.items()}
        rates = medians(in_turn(forms, rounds, seconds))
        found[name] = {form: 1000 / rate for form, rate in rates.items()}
        shapes = f"{list(case.image)} by {list(case.kernel)}"
        times = "   ".join(f"{form} {ms:.1f} ms" for form, ms in found[name].items())
        print(f"{name:<34}{shapes:<40}{times}", flush=True)
    return found


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # jax tells what it did not find
    if jax.default_backend() != "cpu":
        raise SystemExit("there is nothing to compare: only on CPU are convolutions rewritten")
    result = {"machine": machine()}
    print(result["machine"]["cpu"])
    milliseconds = measure(CASES, FLAGS.repeats, FLAGS.seconds)
    shapes = {name: [case.image, case.kernel] for name, case in CASES.items()}
    write_result(FLAGS.out, {**result, "shapes": shapes, "milliseconds": milliseconds})


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_integer("repeats", 5, "Rounds; every form has one turn in each.")
    flags.DEFINE_float("seconds", 2.0, "About how long a turn is.")
    flags.DEFINE_string("out", "benchmarks/results/convolutions_cpu.json", "Result file.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
