"""Reads keras weights, from keras.applications or from files, under this package's names.

Gives {'params/<layer>/kernel': array, 'batch_stats/<layer>/mean': array, ...}: layers are called
as in keras, arrays as in flax.
"""

import os
import re
import sys

import numpy as np

from jaxvision.errors import UserError
from jaxvision.models.preprocess import UNIT_MEAN, UNIT_STD

APPLICATIONS = {
    "mobilenet_v2": "MobileNetV2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    **{f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)},
}
MOBILENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
INSTALL = 'pip install -e ".[pretrained]"'
WAYS_OUT = "give model.encoder.weights a path to a weights file, or '' to train from scratch"

KERNEL = ("params/{}/kernel", "params/{}/bias")
BATCH_NORM = (
    "params/{}/scale",
    "params/{}/bias",
    "batch_stats/{}/mean",
    "batch_stats/{}/var",
)


def fetch(name, model, with_top):
    """ImageNet weights of the encoder `name`; keras downloads, checks the hash and caches them.

    Raises:
      UserError: keras is missing, nothing is published for this encoder, or the download failed.
    """
    if name not in APPLICATIONS:
        raise UserError(
            f"there are no ImageNet weights for {name!r}; {WAYS_OUT} "
            f"(there are for: {', '.join(APPLICATIONS)})"
        )
    options = {"weights": "imagenet", "include_top": with_top}
    if name == "mobilenet_v2":
        if model.width not in MOBILENET_WIDTHS:
            raise UserError(
                f"ImageNet weights exist for MobileNetV2 of width {MOBILENET_WIDTHS}, "
                f"not {model.width}; {WAYS_OUT}"
            )
        options["alpha"] = model.width
    # A size at which no family warns; the weights are the same at every size.
    options["input_shape"] = None if with_top else (224, 224, 3)
    application = getattr(_import_keras().applications, APPLICATIONS[name])
    try:
        keras_model = application(**options)
    except Exception as e:  # keras raises a bare Exception when a download fails
        raise UserError(
            f"could not fetch the ImageNet weights of {name!r}, for which the network is needed "
            f"({' '.join(str(e).split())}); {WAYS_OUT}"
        ) from e
    return from_model(keras_model)


def from_model(keras_model):
    """The arrays of a keras model."""
    layers = {
        layer.name: [(w.name, np.asarray(w.value)) for w in layer.weights]
        for layer in keras_model.layers
    }
    return _named(layers)


def read_h5(path):
    """The arrays of a keras weights file: the old .h5 layout, or keras 3's .weights.h5.

    Raises:
      UserError: h5py is missing, or the file is neither.
    """
    try:
        import h5py
    except ImportError as e:
        raise UserError(f"reading {path} needs h5py: {INSTALL}") from e
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = _legacy_layers(root) if "layer_names" in root.attrs else _keras3_layers(file)
    except OSError as e:
        raise UserError(f"{path} is not an HDF5 file: {e}") from e
    if not layers:
        raise UserError(f"{path} holds no keras weights that are named by layer")
    return _named(layers)


def _import_keras():
    # Keras picks its backend at import. Ours is JAX: TensorFlow's takes the GPU's memory.
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "jax"
    try:
        import keras
    except ImportError as e:
        raise UserError(
            f"model.encoder.weights: ImageNet weights need keras, and the network when they are "
            f"first used: {INSTALL}; or {WAYS_OUT}"
        ) from e
    return keras


def _legacy_layers(root):
    def text(name):
        return name.decode() if isinstance(name, bytes) else str(name)

    layers = {}
    for layer in map(text, root.attrs["layer_names"]):
        names = map(text, root[layer].attrs["weight_names"])
        layers[layer] = [(name, root[layer][name][()]) for name in names]
    return layers


def _keras3_layers(file):
    """Groups <anything>/vars with datasets 0, 1, ...; the layer's name is the group's attribute."""
    layers = {}

    def visit(path, item):
        if path.rsplit("/", 1)[-1] == "vars" and "name" in item.attrs and len(item):
            order = sorted(item, key=int)
            layers[item.attrs["name"]] = [(f"{path}/{i}", item[i][()]) for i in order]

    file.visititems(visit)
    return layers


def _named(layers):
    """{layer: [(keras name, array)]} to {flat name: array}.

    Within a layer the order says what an array is: keras always lists kernel, bias and gamma, beta,
    moving mean, moving variance, while the names differ between its versions.
    """
    arrays = {}
    for layer, weights in layers.items():
        values = [value for _, value in weights]
        if re.fullmatch(r"normalization(_\d+)?", layer):
            _require_imagenet_statistics(layer, values)
        elif len(values) == 4 and all(v.ndim == 1 for v in values):
            arrays |= dict(zip([n.format(layer) for n in BATCH_NORM], values, strict=True))
        elif len(values) in (1, 2) and values[0].ndim in (2, 4):
            if values[0].ndim == 4 and values[0].shape[3] == 1:
                # Depthwise: keras has [kh, kw, C, 1], flax [kh, kw, 1, C].
                values[0] = values[0].transpose(0, 1, 3, 2)
            arrays |= dict(zip([n.format(layer) for n in KERNEL], values, strict=False))
        elif values:
            listed = ", ".join(f"{name} {value.shape}" for name, value in weights)
            raise UserError(f"layer {layer!r} is no convolution, dense or batch norm: {listed}")
    return arrays


def _require_imagenet_statistics(layer, values):
    """EfficientNet's input statistics are constants here, so a file must agree with them.

    Keras' ImageNet files hold the deviation as the variance and divide by its root twice.
    """
    mean, var = (np.ravel(v) for v in values[:2])
    std = np.asarray(UNIT_STD)
    agrees = np.allclose(mean, UNIT_MEAN, atol=1e-3) and (
        np.allclose(var, std, atol=1e-3) or np.allclose(var, std**2, atol=1e-3)
    )
    if not agrees:
        raise UserError(
            f"layer {layer!r} scales the input by mean {mean} and variance {var}, not by "
            f"ImageNet's {UNIT_MEAN} and {UNIT_STD}"
        )
