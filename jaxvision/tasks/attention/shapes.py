"""What a config says of the images that the network sees."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxvision.models.retina import Retina


def input_shape(config: ConfigDict, shape: Sequence[int]) -> tuple[int, int, int]:
    """(H, W, C) of what the network sees of images of `shape`: their canvas, where there is one."""
    height, width, channels = shape
    size = config.canvas.size
    return (size, size, channels) if size else (height, width, channels)


def make_retina(config: ConfigDict) -> Retina:
    """The retina of a config."""
    return Retina(config.model.size, config.model.patches, config.model.scale)
