"""Attention blocks: shape, size by the papers' formulas, effect; and their places in networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.models import attention, cnn, encoders

C, R = 32, 16
GATE = 2 * C * C // R + C // R + C  # two layers with biases
COUNTS = {
    "se": GATE,
    "channel": GATE,
    "spatial": 7 * 7 * 2,
    "cbam": GATE + 98,
    "sa": C * C // 2 + 1,
    "mhsa": 4 * (C * C + C) + 2 * C,
    "transformer": 12 * C * C + 13 * C,
}


def a_map(seed=0):
    return jax.random.normal(jax.random.key(seed), (2, 5, 4, C))


@pytest.mark.parametrize("kind", attention.KINDS)
def test_blocks_keep_the_shape_have_their_size_and_change_the_map(kind):
    block, x = attention.KINDS[kind](), a_map()
    apply = jax.jit(lambda params: block.apply({"params": params}, x))
    params = jax.jit(block.init)(jax.random.key(0), x)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[kind]
    if kind == "sa":  # begins at no effect; its share must be able to grow
        np.testing.assert_array_equal(apply(params), x)
        gradient = jax.jit(jax.grad(lambda p: (block.apply({"params": p}, x) ** 2).sum()))(params)
        assert gradient["gamma"] != 0
        params = {**params, "gamma": jnp.ones(())}
    out = apply(params)
    assert out.shape == x.shape and out.dtype == jnp.float32
    assert float(abs(out - x).mean()) > 1e-2


@pytest.mark.parametrize("kind", attention.KINDS)
def test_blocks_compute_in_bfloat16(kind):
    block = attention.KINDS[kind](dtype=jnp.bfloat16)
    out = jax.eval_shape(
        lambda x: block.init_with_output(jax.random.key(0), x)[0], a_map().astype(jnp.bfloat16)
    )
    assert out.dtype == jnp.bfloat16


def test_self_attention_sees_far_places_and_gates_do_not_move_them():
    x = a_map()
    far = x.at[:, 4, 3, 0].add(3.0)
    for kind, reaches in (("transformer", True), ("spatial", False)):
        block = attention.KINDS[kind]()
        variables = jax.jit(block.init)(jax.random.key(0), x)
        apply = jax.jit(block.apply)
        moved = abs(apply(variables, far) - apply(variables, x))[:, 0, 0].max()
        assert (moved > 1e-5) == reaches, kind


def test_places_are_told_apart():
    codes = attention.positions_2d(3, 4, 18)
    assert codes.shape == (12, 18) and not codes[:, 16:].any()
    assert len(np.unique(codes.round(5), axis=0)) == 12


PLACES = {
    "resnet_tiny": ("", "se", "", "cbam"),
    "resnet_tiny_bottleneck": ("", "se", "", "cbam"),
    "efficientnet_tiny": ("", "se", "", "", "", "", "cbam"),
    "mobilenet_v2_tiny": ("", "se", "", "", "", "", "cbam"),
    "vgg_tiny": ("", "se", "", "cbam"),
    "cnn_tiny": ("se", "cbam"),
}


def shapes_of(name, **fields):
    model = encoders.make(name, encoders.CLASSIFIERS, num_classes=0, **fields)
    images = jnp.zeros((1, 32, 32, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]


@pytest.mark.parametrize("name", PLACES)
def test_attention_goes_where_the_config_puts_it_and_nowhere_else(name):
    plain = shapes_of(name)
    kinds = PLACES[name]
    fields = {"attention": kinds, "head_attention": "transformer"}
    if name != "vgg_tiny":
        fields["block_attention"] = "channel"
    added = shapes_of(name, **fields)
    assert {layer: added[layer] for layer in plain} == plain
    new = set(added) - set(plain)
    after = {f"attention{i + 1}" for i, kind in enumerate(kinds) if kind}
    inside = {layer for layer in new if layer.endswith("_attention")} - {"head_attention"}
    assert new == after | inside | {"head_attention"}
    assert bool(inside) == (name not in ("vgg_tiny", "cnn_tiny"))  # cnn_tiny is not residual
    assert "channel" in added[f"attention{len(kinds)}"]  # cbam


def test_remat_changes_neither_output_nor_gradient():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1)).astype(np.float32)
    plain = cnn.CNNTiny(num_classes=3, residual=True)
    variables = jax.jit(lambda: plain.init(jax.random.key(0), images, train=False))()

    def gradient(model):
        def loss(params):
            out, _ = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return (out**2).sum()

        return jax.jit(jax.value_and_grad(loss))

    kept, again = gradient(plain), gradient(plain.clone(remat=True))
    assert "remat" in str(jax.make_jaxpr(again)(variables["params"]))
    a, b = kept(variables["params"]), again(variables["params"])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-4), a, b)


@pytest.mark.parametrize("name", ["resnet_tiny", "efficientnet_tiny", "vgg_tiny"])
def test_remat_keeps_the_names_of_all_layers(name):
    assert shapes_of(name, remat=True) == shapes_of(name)


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="'cbma': use one of se, channel"):
        attention.check_kinds(("", "cbma"))


def test_the_published_vgg_for_faces_has_its_size():
    """8 convolutions and, with the head, 3 dense layers on 2x2 places: arXiv 2105.03588, fig. 2."""
    model = encoders.make("vgg_face", encoders.CLASSIFIERS, num_classes=0)
    out, variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((1, 40, 40, 3)), train=False)
    )
    assert out.shape == (1, 2 * 2 * 512)
    assert sum("conv" in name and "_bn" not in name for name in variables["params"]) == 8
