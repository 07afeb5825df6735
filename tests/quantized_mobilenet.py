"""Reads a MobileNetV2 1.0/224 for ImageNet from 8-bit weights (Google, Apache-2.0) for tests.

The file has 53 convolutions with their batch norms folded in (layout in the data's README). The
batch norms come back as identities, or, calibrated on photos, with the statistics that those give:
the same function in evaluation, and one that can be fine-tuned with batch statistics.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxvision.models import encoders, pretrained

FILE = "weights/mobilenet_v2_1.0_224_imagenet_q8.npz"
CLASSES = 1001  # ImageNet's 1000 after a background class
EPSILON = 1e-3  # of MobileNetV2's batch norms


def read(path):
    """Variables of MobileNetV2(num_classes=1001), float32, batch norms as identities."""
    params, batch_stats = {}, {}
    with np.load(path) as file:
        for source in map(str, file["layer_order"]):
            q, bias = file[f"{source}/q"].astype(np.float32), file[f"{source}/bias"]
            scale, zero_point = file[f"{source}/scale"], np.float32(file[f"{source}/zero_point"])
            kernel = scale * (q - zero_point)
            name, norm = layer_names(source)
            depthwise = name.endswith("depthwise")
            # [1, kh, kw, C] -> [kh, kw, 1, C], or [out, kh, kw, in] -> [kh, kw, in, out]
            kernel = kernel.transpose((1, 2, 0, 3) if depthwise else (1, 2, 3, 0))
            if name == "predictions":
                params[name] = {"kernel": kernel[0, 0], "bias": bias}
                continue
            if name == "Conv1":
                kernel, bias = rescale_input(kernel, bias)
            params[name] = {"kernel": kernel}
            params[norm] = {"scale": np.ones_like(bias), "bias": bias}
            variance = np.full_like(bias, 1 - EPSILON)  # so that sqrt(variance + epsilon) is 1
            batch_stats[norm] = {"mean": np.zeros_like(bias), "var": variance}
    return jax.tree.map(jnp.asarray, {"params": params, "batch_stats": batch_stats})


def layer_names(source):
    """'expanded_conv_3/expand/Conv2D_Fold' -> ('block_3_expand', 'block_3_expand_BN')."""
    block, part, *_ = source.split("/")
    if block == "Conv":
        return "Conv1", "bn_Conv1"
    if block == "Conv_1":
        return "Conv_1", "Conv_1_bn"
    if block == "Logits":
        return "predictions", None
    if block != "expanded_conv":
        block = block.replace("expanded_conv_", "block_")
    return f"{block}_{part}", f"{block}_{part}_BN"


def rescale_input(kernel, bias):
    """The first convolution on x / 127.5 - 1 instead of (x - 128) / 128.

    Exact but at the padded border, where the offset of 0.5 / 128 also falls on the padding.
    """
    offset = -0.5 / 128 * kernel.sum(axis=(0, 1, 2))
    return kernel * np.float32(127.5 / 128), bias + offset.astype(np.float32)


def calibrate(variables, images):
    """The same function in evaluation, with the statistics of `images` in the batch norms."""
    model = encoders.make("mobilenet_v2", num_classes=CLASSES)

    @jax.jit
    def moments(images):
        _, state = model.apply(
            variables,
            images,
            train=False,
            capture_intermediates=lambda module, _: isinstance(module, nn.Conv),
            mutable=["intermediates"],
        )
        outputs = {k: v["__call__"][0] for k, v in state["intermediates"].items()}
        return {k: (x.mean((0, 1, 2)), x.var((0, 1, 2))) for k, x in outputs.items()}

    flat = traverse_util.flatten_dict(variables, sep="/")
    for conv, (mean, var) in moments(images).items():
        norm = {"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}.get(conv, f"{conv}_BN")
        flat[f"params/{norm}/bias"] += mean
        flat[f"params/{norm}/scale"] = jnp.sqrt(var + EPSILON)
        flat[f"batch_stats/{norm}/mean"], flat[f"batch_stats/{norm}/var"] = mean, var
    return traverse_util.unflatten_dict(flat, sep="/")


def save_encoder(path, variables):
    """Writes all layers but the classifier as our safetensors: MobileNetV2(num_classes=0)."""
    model = encoders.make("mobilenet_v2", num_classes=0)
    layers = set(model.layer_order())
    kept = {
        collection: {k: v for k, v in tree.items() if k in layers}
        for collection, tree in variables.items()
    }
    pretrained.save(path, "mobilenet_v2", model, kept, "MobileNetV2 1.0/224, ImageNet, 8-bit")
