"""A program is that of the platform it is lowered for, and its batch size may stay open."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxvision.models import conv, pool, ram
from tests import networks


@functools.cache
def network(name):
    return networks.ALL[name]()


def text(function, platform, *arguments):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def count(program, op):
    return program.count(f"stablehlo.{op}(") + program.count(f'"stablehlo.{op}"(')


def kernels(variables):
    return sum(leaf.ndim == 4 for leaf in jax.tree.leaves(variables))


def mean_square(function, variables, images):
    return sum((y**2).mean() for y in jax.tree.leaves(function(variables, images)))


@pytest.mark.parametrize("name", networks.ALL)
def test_cuda_program_holds_plain_convolutions_and_no_loops_of_theirs(name):
    function, variables, shape = network(name)
    program = text(function, "cuda", variables, networks.pictures(2, shape))
    assert count(program, "convolution") == kernels(variables)
    assert count(program, "while") == name.startswith("glimpses")  # the glimpses themselves


@pytest.mark.parametrize("name", ["footprints", "faces", "heatmaps"])
def test_cuda_gradient_holds_plain_convolutions_and_no_loops(name):
    function, variables, shape = network(name)
    gradient = jax.grad(functools.partial(mean_square, function))
    program = text(gradient, "cuda", variables, networks.pictures(2, shape))
    expected = 3 * kernels(variables)
    # The gradient of the pixels may be there, for nobody.
    assert expected - 1 <= count(program, "convolution") <= expected
    assert count(program, "while") == 0


def test_cpu_program_holds_the_rewrites():
    function, variables, shape = network("footprints")
    images = networks.pictures(2, shape)
    program = text(function, "cpu", variables, images)
    assert count(program, "convolution") < kernels(variables)
    gradient = jax.grad(functools.partial(mean_square, function))
    assert count(text(gradient, "cpu", variables, images), "while") > 0
    function, variables, shape = network("faces")
    programs = [text(function, p, variables, networks.pictures(2, shape)) for p in ("cpu", "cuda")]
    assert [count(program, "reduce_window") for program in programs] == [0, 2]


def test_rewrites_work_under_every_transformation():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 8, 8, 4)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 4, 4)), jnp.float32)

    def loss(kernel, x):
        y = conv.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=conv.NHWC)
        return (pool.max_pool_2x2(y) ** 2).sum()

    one_by_one = [jax.grad(loss)(kernel, row) for row in x]
    mapped = jax.vmap(jax.grad(loss), (None, 0))(kernel, x)
    np.testing.assert_allclose(mapped, jnp.stack(one_by_one), rtol=1e-4)
    _, scanned = jax.lax.scan(lambda c, row: (c, jax.jit(jax.grad(loss))(kernel, row)), 0, x)
    np.testing.assert_allclose(scanned, jnp.stack(one_by_one), rtol=1e-5)
    kept = jax.grad(jax.checkpoint(loss))(kernel, x[0])
    np.testing.assert_allclose(kept, one_by_one[0], rtol=1e-5)


def exported(net, shape, constraints=()):
    scope = export.symbolic_shape(shape, constraints=constraints)
    weights = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), net.variables)
    images = jax.ShapeDtypeStruct(scope, np.uint8)
    return export.export(jax.jit(net.function), platforms=["cpu"])(weights, images)


def assert_same(net, program, batch, shape):
    images = networks.pictures(batch, shape)
    expected = jax.jit(net.function)(net.variables, images)
    jax.tree.map(np.testing.assert_array_equal, program.call(net.variables, images), expected)


SYSTEMS = ("footprints", "faces", "streets", "heatmaps", "glimpses_classifier")


@pytest.mark.parametrize("name", (*SYSTEMS, "coordinates", "glimpses_decoder"))
def test_export_with_open_batch_equals_jit_to_the_bit(name):
    net = network(name)
    program = exported(net, "b, " + ", ".join(map(str, net.shape)))
    for batch in (1, 3, 8) if name in SYSTEMS else (3,):  # each compiles twice
        assert_same(net, program, batch, net.shape)


@pytest.mark.parametrize(
    ("name", "shape", "constraints", "sizes"),
    [
        ("footprints", "b, 32*h, 32*w, 3", ("h >= 3", "w >= 3"), [(128, 96, 3)]),
        ("heatmaps", "b, h, w, 1", ("h >= 16", "w >= 16"), [(16, 16, 1), (33, 50, 1)]),
    ],
)
def test_export_with_open_sides_equals_jit_to_the_bit(name, shape, constraints, sizes):
    net = network(name)
    program = exported(net, shape, constraints)
    for size in sizes:
        assert_same(net, program, 2, size)


def test_recurrent_attention_takes_an_open_batch_as_it_is():
    model = ram.RAM("classifier", 5, (12, 12, 1), glimpses=3, size=4, hidden=8, widths=(6, 6, 8))
    variables = jax.eval_shape(
        lambda key: model.init(key, networks.pictures(1, (12, 12, 1)), key), jax.random.key(0)
    )
    (batch,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, 12, 12, 1), np.uint8)
    roll = jax.jit(lambda variables, x: model.apply(variables, x, jax.random.key(0)).outputs)
    (logits,) = export.export(roll, platforms=["cuda"])(variables, images).out_avals
    assert logits.shape == (batch, 5)
