"""The training programs, lowered for a GPU that need not be there: what must not be in them."""

import functools
import re

import jax
import numpy as np
import pytest

from benchmarks import hlo, jax_side
from jaxvision.training.advance import jitted_steps
from tests.tiny_systems import CONFIGS

STEPS = 7  # a call


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """(system, dtype) -> the run of its tiny config."""
    folder = str(tmp_path_factory.mktemp("run"))

    @functools.cache
    def make(system, dtype="float32"):
        config = CONFIGS[system]()
        config.train.dtype = dtype
        return jax_side.make_run(config, folder)

    return make


@pytest.fixture(scope="module")
def program_of(run_of):
    """(system, dtype) -> StableHLO of the loop's call of STEPS steps through resident data."""

    @functools.cache
    def lower(system, dtype="float32"):
        run = run_of(system, dtype)
        batch = jax_side.first_batch(run)
        data = {n: jax.ShapeDtypeStruct((99, *a.shape[1:]), a.dtype) for n, a in batch.items()}
        rows = jax.ShapeDtypeStruct((STEPS, run.config.batch_size), np.int32)
        _, step_many = jitted_steps(run)
        return hlo.lower_for_cuda(step_many, data, jax_side.state_shapes(run), rows).as_text()

    return lower


def count(program, op):
    return program.count(f"stablehlo.{op}(") + program.count(f'"stablehlo.{op}"(')


@pytest.mark.parametrize("system", CONFIGS)
def test_steps_of_a_call_are_one_loop_without_others_inside(program_of, system):
    program = program_of(system)
    assert count(program, "while") == 1  # the glimpses are no loop on a GPU
    assert re.search(rf"dense<{STEPS}> : tensor<i32>\n\s*%\d+ = stablehlo.compare +LT", program)


@pytest.mark.parametrize("system", CONFIGS)
def test_convolutions_are_plain(program_of, run_of, system):
    """One forward and one for each gradient; the gradient of the pixels, at most, left out."""
    kernels = sum(
        leaf.ndim == 4 for leaf in jax.tree.leaves(jax_side.state_shapes(run_of(system)).params)
    )
    found = count(program_of(system), "convolution")
    assert 3 * kernels - 1 <= found <= 3 * kernels


@pytest.mark.parametrize("system", CONFIGS)
def test_nothing_is_float64(program_of, system):
    for dtype in ("float32", "bfloat16"):
        assert not re.search(r"[<x](f64|complex<f64>)>", program_of(system, dtype))


@pytest.mark.parametrize("system", CONFIGS)
def test_the_state_is_donated_whole(program_of, run_of, system):
    """Every array of the new state lies where one of the old state did."""
    arrays = len(jax.tree.leaves(jax_side.state_shapes(run_of(system))))
    (signature,) = re.findall(r"func.func public @main\((.*)\) -> ", program_of(system))
    results = re.findall(r"tf.aliasing_output = (\d+)", signature)
    assert len(set(results)) == len(results) == arrays


@pytest.mark.parametrize("system", CONFIGS)
def test_nothing_calls_the_host(program_of, system):
    program = program_of(system)
    assert not re.findall(r"custom_call @\w*callback\w*", program)
    for op in ("infeed", "outfeed", "send", "recv"):
        assert count(program, op) == 0


@pytest.mark.parametrize("system", ["segmentation", "classification", "perception", "keypoints"])
def test_bfloat16_reaches_every_convolution(program_of, system):
    lines = [line for line in program_of(system, "bfloat16").splitlines() if "convolution(" in line]
    assert lines and all("xf32>" not in line for line in lines)


@pytest.mark.parametrize("system", CONFIGS)
def test_float32_proper_reaches_every_product(run_of, system):
    """`jax_default_matmul_precision` is heard everywhere: TF32 in no product, if it says so."""
    run = run_of(system)
    step_once, _ = jitted_steps(run)
    with jax.default_matmul_precision("float32"):
        arguments = jax_side.state_shapes(run), jax_side.first_batch(run)
        program = hlo.lower_for_cuda(step_once, *arguments).as_text()
    products = [x for x in program.splitlines() if re.search(r"(convolution|dot_general)\b", x)]
    assert products and all("DEFAULT" not in line for line in products)
