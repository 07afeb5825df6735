"""What every encoder promises: its stages, its layer order, its three kinds of output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.models import encoders

TINY = {name: make for name, make in encoders.ENCODERS.items() if "tiny" in name}
SIZE = (41, 64)  # an odd side: strides round up


def images(dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(dtype)


@pytest.mark.parametrize("name", TINY)
def test_stages_halve_and_the_head_follows_num_classes(name):
    for num_classes in (None, 0, 5):
        model = TINY[name](num_classes=num_classes)
        out, variables = jax.eval_shape(
            lambda m=model: m.init_with_output(jax.random.key(0), images(), train=False)
        )
        assert sorted(model.layer_order()) == sorted(
            {*variables["params"], *variables.get("batch_stats", {})}
        )
        if num_classes is None:
            for stride, features in out.items():
                expected = tuple(-(-side // stride) for side in SIZE)
                if name.startswith("vgg"):  # its pooling rounds down
                    expected = tuple(side // stride for side in SIZE)
                assert features.shape[:3] == (2, *expected), stride
            assert list(out)[-5:] == [2, 4, 8, 16, 32]
        else:
            assert out.shape[0] == 2 and out.dtype == jnp.float32
            assert num_classes == 0 or out.shape == (2, num_classes)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(name):
    model = TINY[name](dtype=jnp.bfloat16)
    out, variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), images(), train=False)
    )
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(out))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", TINY)
def test_bytes_and_floats_are_the_same_pixels_and_training_moves_the_statistics(name):
    model = TINY[name](num_classes=3)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images(), train=False))()
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    from_bytes, from_floats = apply(variables, images()), apply(variables, images(np.float32))
    np.testing.assert_allclose(from_bytes, from_floats, rtol=1e-4, atol=1e-8)
    if "batch_stats" not in variables:
        return
    _, updates = jax.jit(
        lambda v, x: model.apply(
            v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
        )
    )(variables, images())
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), variables["batch_stats"], updates["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_training_efficientnet_drops_branches_and_evaluating_does_not():
    residual_is_deep = {"repeats": (1, 1, 1, 1, 1, 2, 1), "drop_connect_rate": 0.9}
    model = TINY["efficientnet_tiny"](num_classes=0, **residual_is_deep)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images(), train=False))()

    @jax.jit
    def train(variables, key):
        rngs = {"dropout": key}
        return model.apply(variables, images(), train=True, mutable=["batch_stats"], rngs=rngs)[0]

    outputs = [train(variables, jax.random.key(i)) for i in range(8)]
    assert max(float(abs(out - outputs[0]).max()) for out in outputs) > 1e-3
    jax.eval_shape(lambda: model.apply(variables, images(), train=False))  # needs no rng


@pytest.mark.parametrize(
    "name, count",
    # torchvision's resnet18 and resnet34, whose basic blocks these are.
    [("resnet18", 11_689_512), ("resnet34", 21_797_672)],
)
def test_basic_resnets_have_as_many_parameters_as_the_published_ones(name, count):
    model = encoders.make(name, num_classes=1000)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images(), train=False))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == count


def test_an_unknown_encoder_is_named_with_the_known_ones():
    with pytest.raises(UserError, match="'resnet51'.*resnet50"):
        encoders.make("resnet51")
