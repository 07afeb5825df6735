"""The smallest run that has every part of a real one; seconds on a CPU."""

import jax

from configs import unet
from jaxvision import train
from jaxvision.input_pipeline import loader
from jaxvision.sharding import make_mesh
from jaxvision.training import run as run_lib


def tiny_config(**overrides):
    """configs/unet.py on a few 32 pixel scenes and a tiny encoder.

    Args:
      overrides: 'section__field' = value.
    """
    config = unet.get_config()
    config.batch_size = 4
    config.data.image_size = 32
    config.data.synthetic_examples = dict(train=10, val=3, test=5)
    config.model.encoder.name = "mobilenet_v2_tiny"
    config.model.encoder.weights = ""
    config.model.decoder_widths = (8, 8, 8, 8, 8)
    config.train.steps = 6
    config.eval.every_epochs = 1.0
    config.log.every_steps = 1
    return overridden(config, overrides)


def overridden(config, overrides):
    """The config with 'section__field' = value set in it."""
    for name, value in overrides.items():
        section, _, field = name.rpartition("__")
        target = config
        for part in section.split("__") if section else []:
            target = target[part]
        target[field] = value
    return config


def open_run(config, workdir):
    """The parts of a run, without its loop: (run, feed of the training split, state)."""
    dataset = loader.load_dataset(config)
    mesh = make_mesh({"batch_size": config.batch_size})
    run = run_lib.prepare(config, str(workdir), dataset, mesh)
    feed = loader.open_feed(dataset, "train", config, mesh)
    return run, feed, run_lib.initial_state(run, run_lib.make_optimizer(run))


def final_state(workdir, config):
    """The newest checkpoint of a workdir, on the host."""
    run, _, state = open_run(config, workdir)
    return jax.device_get(run.checkpoints.restore(run.checkpoints.newest(), state))


def train_in(workdir, **overrides):
    """Trains the tiny config in `workdir`; returns the config."""
    config = tiny_config(**overrides)
    train.train(config, str(workdir))
    return config
