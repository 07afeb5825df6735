"""A tiny network of each kind: as a function of weights and pictures, and its weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.models import classifier, cnn, encoders, keypoints, perception, ram, unet


class Network(NamedTuple):
    """A network as its task uses it to predict.

    Attributes:
      function: (variables, uint8 [B, H, W, C]) -> {name: array}.
      variables: random weights.
      shape: (H, W, C).
    """

    function: Callable
    variables: Any
    shape: tuple[int, int, int]


def pictures(batch, shape):
    """Random uint8 [batch, *shape]."""
    return np.random.default_rng(batch).integers(0, 256, (batch, *shape), np.uint8)


def _random(path, leaf):
    """Weights as a trained network might have; statistics differ from channel to channel."""
    rng = np.random.default_rng(len(str(path)) + leaf.size)
    if path[-1].key in ("var", "scale"):
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
    return (rng.normal(size=leaf.shape) * (2 / fan_in) ** 0.5).astype(np.float32)


def _variables(init):
    # Without running init: to compile it takes as long as the rest of a test.
    return jax.tree_util.tree_map_with_path(_random, jax.eval_shape(init))


def _network(model, shape, outputs):
    variables = _variables(lambda: model.init(jax.random.key(0), pictures(1, shape), train=False))

    def function(variables, images):
        return outputs(model.apply(variables, images, train=False))

    return Network(function, variables, shape)


def footprints():
    """U-Net on MobileNetV2."""
    model = unet.UNet(encoders.make("mobilenet_v2_tiny"), widths=(8, 8, 8, 8, 8))
    return _network(model, (96, 128, 3), lambda y: {"probability": jax.nn.sigmoid(y)})


def _faces(encoder, shape=(16, 16, 1)):
    model = classifier.Classifier(encoder, 7, gray_to_rgb=False)
    return _network(model, shape, lambda logits: {"logits": logits})


def faces():
    """A plain small network of expressions."""
    return _faces(cnn.CNNTiny(num_classes=0))


def faces_with_attention():
    """Residual blocks with gates and self-attention of every kind."""
    options = {
        "block_attention": "se",
        "attention": ("cbam", "sa"),
        "head_attention": "transformer",
    }
    widths = {"filters": (4, 8, 8), "kernels": (3, 3, 3), "residual": True, "activation": "mish"}
    return _faces(cnn.CNN(num_classes=0, **widths, **options))


def faces_vgg():
    """Convolutions with bias, BGR input, and pooling that rounds down."""
    return _faces(encoders.make("vgg_tiny", num_classes=0), (40, 40, 3))


def faces_efficientnet():
    """Swish, and squeeze and excitation by convolutions."""
    return _faces(encoders.make("efficientnet_tiny", num_classes=0), (40, 40, 3))


def streets():
    """A scorer of photos on a ResNet."""
    encoder = encoders.make("resnet_tiny_bottleneck")
    heads = [perception.Head(6, (16, 8), spread=True) for _ in range(2)]
    model = perception.Scorer(encoder, heads)
    net = _network(model, (64, 64, 3), lambda outputs: {n: a.mean(0) for n, a in outputs.items()})
    for i in range(2):  # else every spread lies beyond its bounds
        net.variables["params"][f"heads_{i}"]["out"]["kernel"] *= 0.01
    return net


def _located(located):
    points = located.points
    if located.heatmaps is not None:
        points = keypoints.peak_position(located.heatmaps, 3)
    return {"points": points, "spread": located.spread}


def heatmaps():
    """Keypoints by heatmaps; odd sides."""
    return _network(keypoints.HeatmapNet(3, (8, 8, 8)), (33, 40, 1), _located)


def coordinates():
    """Keypoints by regression."""
    return _network(keypoints.CoordinateNet(3, (4, 8, 8), 16), (33, 32, 1), _located)


def _glimpses(**options):
    shape = (12, 12, 1)
    options = {"classes": 5, "shape": shape, "glimpses": 3, "size": 4, "hidden": 8, **options}
    model = ram.RAM(widths=(6, 6, 8), decoder_width=8, **options)
    key = jax.random.key(1)
    variables = _variables(lambda: model.init(key, jnp.zeros((1, *shape), jnp.uint8), key))

    def one(variables, image):  # the same noise for every picture
        rollout = model.apply(variables, image[None], key)
        outputs = rollout.outputs if options["head"] == "classifier" else rollout.outputs[:, 0]
        return {"locations": rollout.locations[:, 0], "outputs": outputs}

    return Network(jax.vmap(one, in_axes=(None, 0)), variables, shape)


def glimpses_classifier():
    """Recurrent attention that names the picture; LSTM, two patches."""
    return _glimpses(head="classifier", core="lstm", patches=2, policy_sees="glimpse")


def glimpses_decoder():
    """Recurrent attention that draws the picture."""
    return _glimpses(head="decoder", learn_std=True, first="learned")


ALL = {
    make.__name__: make
    for make in (
        footprints,
        faces,
        faces_with_attention,
        faces_vgg,
        faces_efficientnet,
        streets,
        heatmaps,
        coordinates,
        glimpses_classifier,
        glimpses_decoder,
    )
}
