"""GFLOP/s of the steps' longest convolutions, XLA's own and PyTorch's, forward and both gradients.

    python -m benchmarks.convolutions_torch

The convolutions are NHWC for XLA and channels_last for PyTorch, float32, on all cores.
"""

import os
import time
from collections.abc import Callable

import jax
import numpy as np
from jax import lax

# name: batch, side, channels in and out of a 3 x 3 convolution.
CASES = {
    "fer, third": (64, 12, 64, 128),
    "fer, fourth": (64, 6, 128, 256),
    "unet, decoder": (8, 64, 112, 32),
    "rat, middle": (32, 25, 32, 32),
}
TURNS = 15


def median_seconds(call: Callable[[], object]) -> float:
    """Median time of a call that returns when its work is done."""
    seconds = []
    for turn in range(TURNS + 2):  # the first two warm up
        start = time.perf_counter()
        call()
        if turn > 1:
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def convolve(x, w):
    """NHWC, HWIO, SAME."""
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def jax_calls(x, w, g) -> list[Callable[[], object]]:
    """Forward, gradient of the input, gradient of the weights."""
    forward = jax.jit(convolve)
    of_input = jax.jit(lambda x, w, g: jax.vjp(lambda x: convolve(x, w), x)[1](g))
    of_weights = jax.jit(lambda x, w, g: jax.vjp(lambda w: convolve(x, w), w)[1](g))
    arrays = jax.device_put((x, w, g))
    return [
        lambda: jax.block_until_ready(forward(*arrays[:2])),
        lambda: jax.block_until_ready(of_input(*arrays)),
        lambda: jax.block_until_ready(of_weights(*arrays)),
    ]


def torch_calls(x, w, g) -> list[Callable[[], object]]:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count())

    def channels_last(array, order):
        tensor = torch.tensor(array).permute(*order)
        return tensor.contiguous(memory_format=torch.channels_last)

    x, g = channels_last(x, (0, 3, 1, 2)), channels_last(g, (0, 3, 1, 2))
    w = channels_last(w, (3, 2, 0, 1))

    def backward(wanted):
        return torch.ops.aten.convolution_backward(
            g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
        )

    return [
        lambda: torch.nn.functional.conv2d(x, w, padding=1),
        lambda: backward([True, False, False]),
        lambda: backward([False, True, False]),
    ]


def main() -> None:
    """Prints a table."""
    rng = np.random.default_rng(0)
    print("| convolution | GFLOP | XLA: forward, input, weights | PyTorch |\n|---|---|---|---|")
    for name, (batch, side, channels, filters) in CASES.items():
        x = rng.normal(size=(batch, side, side, channels)).astype(np.float32)
        w = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
        g = rng.normal(size=(batch, side, side, filters)).astype(np.float32)
        flop = 2 * batch * side**2 * channels * filters * 9 / 1e9
        rates = [
            ", ".join(f"{flop / median_seconds(call):.0f}" for call in calls(x, w, g))
            for calls in (jax_calls, torch_calls)
        ]
        print(f"| {name} | {flop:.2f} | {rates[0]} | {rates[1]} |")


if __name__ == "__main__":
    main()
