"""What is counted of a program is what is there."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import hlo, roofline
from benchmarks.gpu import chips

X, W = jnp.ones((8, 16)), jnp.ones((16, 16))


def lowered(function, *arguments):
    return hlo.lower_for_cuda(jax.jit(function), *arguments)


def test_products_count_twice_their_multiply_adds():
    found = hlo.cost(lowered(jnp.dot, X, W))
    assert found == (2 * 8 * 16 * 16, 4 * (8 * 16 + 16 * 16 + 8 * 16), 1)


def test_a_loop_counts_as_often_as_it_runs():
    def times(n):
        return hlo.cost(
            lowered(lambda x, w: lax.scan(lambda x, _: (x @ w, None), x, None, n)[0], X, W)
        )

    assert times(6).flops == 6 * times(1).flops == 6 * 2 * 8 * 16 * 16
    assert times(6).kernels == 6 * times(1).kernels
    # cost_analysis does not: why this file is there.
    once, often = (
        lowered(lambda x, w, n=n: lax.scan(lambda x, _: (x @ w, None), x, None, n)[0], X, W)
        for n in (1, 6)
    )
    assert once.cost_analysis()["flops"] == pytest.approx(often.cost_analysis()["flops"], rel=0.1)


@pytest.mark.parametrize(
    ("strides", "padding", "groups"),
    [(1, "SAME", 1), (2, "SAME", 1), (2, "VALID", 1), (1, "SAME", 4)],
)
def test_convolutions_and_their_gradients_count_as_xla_counts_them(strides, padding, groups):
    x, w = jnp.ones((2, 9, 11, 4)), jnp.ones((3, 3, 4 // groups, 4))

    def loss(x, w):
        y = lax.conv_general_dilated(
            x,
            w,
            (strides, strides),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y.sum()

    program = lowered(jax.grad(loss, (0, 1)), x, w)
    assert hlo.cost(program).flops == pytest.approx(program.cost_analysis()["flops"], rel=0.05)


def test_elementwise_work_is_part_of_what_reads_it():
    # One reduction reads x once; the product before it is never written.
    found = hlo.cost(lowered(lambda x: (jnp.tanh(x) * x + 1).sum(), X))
    assert found == (0, 4 * 8 * 16 + 4, 1)
    # A product of what is not in memory needs it there: one kernel more, written and read.
    found = hlo.cost(lowered(lambda x, w: jnp.tanh(x) @ w, X, W))
    assert found.kernels == 2 and found.bytes == 4 * (4 * 8 * 16 + 16 * 16)


def test_bounds_are_those_of_the_slowest():
    seconds = {"float32": 3.0, "tf32": 1.0, "bfloat16": 1.0, "bytes float32": 2.0}
    seconds |= {"bytes bfloat16": 0.5, "kernels": 0.9}
    assert [roofline.bound(seconds, p) for p in ("float32", "tf32", "bfloat16")] == [
        "compute",
        "memory",
        "compute",
    ]
    assert chips.peak_of("NVIDIA H100 80GB HBM3") == chips.H100
    assert chips.peak_of("cpu") is None


def test_a_step_is_reckoned():
    found = roofline.reckon("rat", quick=True)
    assert found["float32"]["flops"] == pytest.approx(found["bfloat16"]["flops"])
    assert found["float32"]["bytes"] > found["bfloat16"]["bytes"] > 0
    assert "| rat |" in roofline.table({"rat": found})
