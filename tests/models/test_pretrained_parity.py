"""Every encoder computes what keras.applications computes, with the same random weights."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "jax"
keras = pytest.importorskip("keras")

from jaxvision.models import encoders, keras_weights, pretrained  # noqa: E402
from jaxvision.models.preprocess import UNIT_MEAN, UNIT_STD, preprocess  # noqa: E402

LARGE = ["vgg19", "resnet101", "resnet152", *[f"efficientnet_b{i}" for i in range(1, 8)]]
SMALL = [
    ("mobilenet_v2", {"width": 0.35}),
    ("mobilenet_v2", {"width": 1.0}),
    ("vgg16", {}),
    ("resnet50", {}),
    ("efficientnet_b0", {}),
]


@pytest.fixture(autouse=True)
def quick_initialisation(monkeypatch):
    """Kernels from numpy: keras compiles a random function for every shape."""
    rng = np.random.default_rng(0)

    def lecun_uniform(initializer, shape, dtype=None):
        del initializer, dtype
        # Small enough that 100 layers do not amplify rounding into chaos.
        limit = np.sqrt(3 / np.prod(shape[: 2 if shape[-1] == 1 else -1]))
        return limit * (2 * rng.random(shape, np.float32) - 1)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", lecun_uniform)


def keras_model(name, options, **kwargs):
    """keras.applications' model of the encoder `name`, without published weights."""
    if "width" in options:
        kwargs["alpha"] = options["width"]
    application = getattr(keras.applications, keras_weights.APPLICATIONS[name])
    return application(weights=None, **kwargs)


def randomise(model, variance=np.square):
    """Biases and batch norm statistics that matter; `variance` is what the scaling layer holds."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        shapes = [w.shape for w in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            low, high = (0.5, -0.3, -0.3, 0.5), (1.5, 0.3, 0.3, 2.0)
            layer.set_weights([rng.uniform(*x) for x in zip(low, high, shapes, strict=True)])
        elif isinstance(layer, keras.layers.Normalization):
            statistics = UNIT_MEAN, variance(np.asarray(UNIT_STD)), 0
            layer.set_weights([np.asarray(x) for x in statistics])
            layer.finalize_state()  # set_weights alone leaves the old scaling in place
        elif len(shapes) == 2:
            layer.bias.assign(rng.uniform(-0.3, 0.3, shapes[1]))


def taps(name, model):
    """Names of the keras layers whose outputs are `model`'s stages."""
    if name == "mobilenet_v2":
        return [f"block_{i}_expand_relu" for i in (1, 3, 6, 13)] + ["block_16_project_BN"]
    if name.startswith("vgg"):
        last = [f"block{i + 1}_conv{n}" for i, n in enumerate(model.repeats)]
        return [*last, "block5_pool"]
    if name.startswith("resnet"):
        last = [f"conv{i + 2}_block{n}_out" for i, n in enumerate(model.repeats)]
        return ["conv1_relu", *last]
    end = [layer for layer in model.layer_order() if layer.endswith("project_bn")][-1]
    if not end.startswith("block7a"):
        end = end.replace("project_bn", "add")
    return [f"block{i}a_expand_activation" for i in (2, 3, 4, 6)] + [end]


def fitted(reference, name, model, size):
    """`reference`'s arrays as `model`'s variables; checks that they fit one to one."""
    arrays = keras_weights.from_model(reference)
    wanted = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False)
    )
    return pretrained.fit(wanted, arrays, name, "keras")


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def parity_errors(reference, name, model, size):
    """{stage stride or 'output': relative error} on the same two images."""
    variables = fitted(reference, name, model, size)
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    layers = [reference.get_layer(tap).output for tap in taps(name, model)]
    tapped = keras.Model(reference.input, [*layers, reference.output])
    inputs = images.astype(np.float32)
    if not name.startswith("efficientnet"):  # keras' own graph holds its scaling
        inputs = preprocess(images, model.preprocessing, jnp.float32)
    state = tapped.trainable_variables, tapped.non_trainable_variables
    state = jax.tree.map(lambda v: v.value, state)
    run = jax.jit(lambda state, x: tapped.stateless_call(*state, x, training=False)[0])
    *expected, output = run(state, inputs)
    stages, logits = jax.jit(
        lambda v, x: (
            model.clone(num_classes=None).apply(v, x, train=False),
            model.apply(v, x, train=False),
        )
    )(variables, images)
    errors = {s: relative_error(x, y) for (s, x), y in zip(stages.items(), expected, strict=True)}
    return errors | {"output": relative_error(logits, output)}


@pytest.mark.parametrize(
    "size, num_classes", [(224, 0), (101, 7)], ids=["pooled at 224", "logits at 101"]
)
@pytest.mark.parametrize("name, options", SMALL)
def test_outputs_and_stages_equal_keras(name, options, size, num_classes):
    top = {"classes": num_classes, "classifier_activation": None}
    if num_classes == 0:
        top = {"include_top": False, "pooling": "avg"}
    reference = keras_model(name, options, input_shape=(size, size, 3), **top)
    randomise(reference)
    model = encoders.make(name, num_classes=num_classes, **options)
    errors = parity_errors(reference, name, model, size)
    assert max(errors.values()) < 1e-4, errors


def test_imagenet_efficientnet_has_another_input_scaling(tmp_path, monkeypatch):
    """With weights='imagenet' keras adds a layer, and its file holds the deviation as variance."""
    stored = keras_model("efficientnet_b0", {}, include_top=False, input_shape=(64, 64, 3))
    randomise(stored, variance=np.asarray)
    stored.save(tmp_path / "weights.h5")
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(tmp_path / "weights.h5"))
    reference = keras.applications.EfficientNetB0(
        weights="imagenet", include_top=False, pooling="avg", input_shape=(64, 64, 3)
    )
    model = encoders.make("efficientnet_b0", num_classes=0)
    errors = parity_errors(reference, "efficientnet_b0", model, 64)
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize("name", LARGE)
def test_large_members_have_keras_layers_and_shapes(name):
    reference = keras_model(name, {}, classes=7, input_shape=(32, 32, 3))
    randomise(reference)
    fitted(reference, name, encoders.make(name, num_classes=7), 32)
