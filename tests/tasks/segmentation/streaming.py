"""What the tests of written masks share: a model of one line, and a stream with its options."""

import numpy as np
from ml_collections import ConfigDict

from configs import unet
from jaxvision.batching import apply_in_batches
from jaxvision.tasks.segmentation import write


def brightness(images):
    """A model that looks at one pixel only."""
    return images.astype(np.float32).mean(-1) / 255


def options_of(**changes) -> ConfigDict:
    """`config.predict` without the side by side picture, and with `changes`."""
    options = unet.get_config().predict
    options.side_by_side = False
    options.update(changes)
    return options


def apply_of(probability_of, batch_size=4):
    """`apply` of `Predictor.stream`, for a function of images to probabilities."""

    def predict(images):
        return {"probability": probability_of(images)}

    return lambda pictures: apply_in_batches(predict, pictures, batch_size)


def stream_file(probability_of, path, output, batch_size=3, **changes):
    """The record of a streamed picture, at a threshold of one half."""
    apply = apply_of(probability_of, batch_size)
    return write.stream(options_of(**changes), (), apply, path, output, {"threshold": 0.5})
