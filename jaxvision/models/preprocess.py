"""Input scaling that pretrained weights expect, named for what it does to the pixels.

Every function takes images [B, H, W, 3], RGB, uint8 or float in [0, 255], and gives [B, H, W, 3]
in `dtype`. The arithmetic is float32: bfloat16 cannot hold 255 grey levels.
"""

import jax.numpy as jnp

# ImageNet's channel statistics in RGB order: the mean in grey levels, as Caffe's models subtract
# it, and the mean and deviation on [0, 1], as torchvision's and EfficientNet's do.
CAFFE_MEAN = (123.68, 116.779, 103.939)
UNIT_MEAN = (0.485, 0.456, 0.406)
UNIT_STD = (0.229, 0.224, 0.225)


def preprocess(images, mode, dtype):
    """Scales images by one of the functions below, by its name."""
    return MODES[mode](images, dtype)


def minus_one_to_one(images, dtype):
    """[0, 255] -> [-1, 1]."""
    return (_float_rgb(images) / 127.5 - 1.0).astype(dtype)


def bgr_minus_mean(images, dtype):
    """RGB -> BGR in grey levels about ImageNet's mean, about [-124, 151]."""
    centred = _float_rgb(images) - jnp.asarray(CAFFE_MEAN)
    return centred[..., ::-1].astype(dtype)


def unit_mean_std(images, dtype):
    """[0, 255] -> [0, 1], minus ImageNet's mean, over its deviation."""
    unit = _float_rgb(images) / 255.0
    return ((unit - jnp.asarray(UNIT_MEAN)) / jnp.asarray(UNIT_STD)).astype(dtype)


def _float_rgb(images):
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be [B, H, W, 3], got {images.shape}")
    return images.astype(jnp.float32)


MODES = {fn.__name__: fn for fn in (minus_one_to_one, bgr_minus_mean, unit_mean_std)}
