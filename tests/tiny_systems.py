"""A tiny config of each system, on its built-in data."""

from configs import fer, perception, rat
from tests.tiny import overridden, tiny_config
from tests.tiny_ram import ram_config


def fer_config(**overrides):
    """configs/fer.py with a network of 500 parameters."""
    config = fer.get_config()
    config.model.encoder.name = "cnn_tiny"
    config.data.image_size = 16
    config.data.synthetic_examples = dict(train=24, val=8, test=8)
    config.batch_size = config.eval.batch_size = 8
    config.train.steps = 6
    return overridden(config, overrides)


def rat_config(**overrides):
    """configs/rat.py with few channels."""
    config = rat.get_config()
    config.model.widths = (4, 4, 4)
    config.data.synthetic_examples = dict(train=16, val=8, test=8)
    config.batch_size = config.eval.batch_size = 8
    config.train.steps = 6
    config.predict.film = False
    return overridden(config, overrides)


def perception_config(**overrides):
    """configs/perception.py with a tiny encoder."""
    config = perception.get_config()
    config.model.encoder.name = "mobilenet_v2_tiny"
    config.model.encoder.weights = ""
    config.model.hidden = (8,)
    config.data.image_size = 40
    config.data.synthetic_examples = dict(train=16, val=8, test=8)
    config.batch_size = config.eval.batch_size = 8
    config.train.steps = 6
    return overridden(config, overrides)


CONFIGS = {
    "segmentation": tiny_config,
    "classification": fer_config,
    "keypoints": rat_config,
    "perception": perception_config,
    "attention": ram_config,
}
