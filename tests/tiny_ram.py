"""configs/ram.py made tiny."""

from configs import ram
from tests.tiny import overridden


def ram_config(variant="", **overrides):
    """A config of seconds on a CPU.

    Args:
      variant: of configs/ram.py.
      overrides: 'section__field' = value.
    """
    config = ram.get_config(variant)
    config.batch_size = 8
    config.eval.batch_size = 8
    config.eval.rollouts = 2
    config.eval.figure_rows = 2
    config.predict.rollouts = 2
    config.canvas.size = 0
    config.data.image_size = 12
    config.data.synthetic_examples = dict(train=40, val=12, test=13)
    config.model.glimpses = 3
    config.model.size, config.model.patches = 4, 1
    config.model.hidden, config.model.widths, config.model.decoder_width = 8, (6, 6, 8), 8
    config.loss.normalize_rewards, config.loss.policy_weight = False, 1.0
    config.train.steps = 6
    config.train.ema_decay = 0.0
    config.eval.every_epochs = 1.0
    config.log.every_steps = 1
    return overridden(config, overrides)
