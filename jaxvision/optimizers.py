"""The optimizer that a config describes, built from optax alone."""

import jax
import optax
from ml_collections import ConfigDict

from jaxvision.errors import UserError

SCHEDULES = ("cosine", "constant", "plateau")


def learning_rate(config: ConfigDict, total_updates: int) -> optax.Schedule:
    """Learning rate of update i: linear warm-up, then cosine to 0 or constant.

    Raises:
      UserError: unknown schedule.
    """
    peak, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    if config.optimizer.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, max(total_updates - warmup, 1))
    elif config.optimizer.schedule in SCHEDULES:
        main = optax.constant_schedule(peak)
    else:
        raise UserError(
            f"optimizer.schedule={config.optimizer.schedule!r} is unknown: use one of {SCHEDULES}"
        )
    # Update 0 already moves: (i + 1) / warmup rather than i / warmup.
    ramp = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, main], [warmup]) if warmup else main


def make_optimizer(
    config: ConfigDict, total_steps: int, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
    """Clipping, the optimizer, its schedule, plateau reduction and gradient accumulation.

    Args:
      config: the run's config; `optimizer` and `train.accumulate_steps` are read.
      total_steps: batches in the whole run; an update comes every `accumulate_steps` of them.
      steps_per_epoch: batches an epoch, the window of the plateau reduction.

    Returns:
      A transformation whose `update` takes `value=loss`.

    Raises:
      UserError: unknown optimizer or schedule, a number out of range. Its `init` raises one where
        `encoder_lr_scale` is set and no parameter is under 'encoder'.
    """
    options, every = config.optimizer, config.train.accumulate_steps
    if every < 1:
        raise UserError(
            f"train.accumulate_steps={every} is not positive: use 1 for no accumulation"
        )
    if options.encoder_lr_scale <= 0:
        raise UserError(
            f"optimizer.encoder_lr_scale={options.encoder_lr_scale} is not positive: an encoder "
            "that is not to move is frozen, model.encoder.freeze=True"
        )
    rate = learning_rate(config, max(total_steps // every, 1))
    chain = [optax.clip_by_global_norm(options.clip_norm)] if options.clip_norm > 0 else []
    chain += _named(options, rate)
    if options.encoder_lr_scale != 1:
        chain.append(optax.masked(optax.scale(options.encoder_lr_scale), _in_encoder))
    if options.schedule == "plateau":
        chain.append(
            optax.contrib.reduce_on_plateau(
                factor=options.plateau_factor,
                patience=options.plateau_patience,
                accumulation_size=max(steps_per_epoch // every, 1),
            )
        )
    optimizer = optax.with_extra_args_support(optax.chain(*chain))
    if every > 1:
        optimizer = optax.MultiSteps(optimizer, every).gradient_transformation()
    return optimizer


def _named(options: ConfigDict, rate: optax.Schedule) -> list[optax.GradientTransformation]:
    decay = optax.add_decayed_weights(options.weight_decay, mask=_is_kernel)
    scale = optax.scale_by_learning_rate(rate)
    if options.name == "adamw":
        return [optax.scale_by_adam(), decay, scale]
    if options.name == "radam":
        return [optax.scale_by_radam(), decay, scale]
    if options.name == "sgd":
        return [decay, optax.trace(decay=0.9, nesterov=True), scale]
    raise UserError(f"optimizer.name={options.name!r} is unknown: use adamw, radam or sgd")


def _is_kernel(params):
    """Decay what multiplies inputs (2 axes or more); norms' scales and biases stay free."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _in_encoder(params):
    if not params.get("encoder"):
        raise UserError(
            "optimizer.encoder_lr_scale is set, but no encoder is trained: set "
            "model.encoder.freeze=False or unfreeze_from, or encoder_lr_scale=1"
        )
    return {name: name == "encoder" for name in params}
