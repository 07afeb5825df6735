"""The optimizer that a config describes, built from optax alone."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict
from optax.contrib import ReduceLROnPlateauState

from jaxvision.errors import UserError


def learning_rate(config: ConfigDict, total_updates: int) -> optax.Schedule:
    """Learning rate of update i: linear warm-up, then cosine to 0 or constant."""
    peak, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    if config.optimizer.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, max(total_updates - warmup, 1))
    else:  # constant; of plateau, the validations lower it
        main = optax.constant_schedule(peak)
    # Update 0 already moves: (i + 1) / warmup rather than i / warmup.
    ramp = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, main], [warmup]) if warmup else main


def make_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Clipping, the optimizer, its schedule, plateau reduction and gradient accumulation.

    Args:
      config: the run's config; `optimizer` and `train.accumulate_steps` are read.
      total_steps: batches in the whole run; an update comes every `accumulate_steps` of them.

    Raises:
      UserError: by its `init`, where `encoder_lr_scale` is set and no parameter is under 'encoder'.
    """
    options, every = config.optimizer, config.train.accumulate_steps
    rate = learning_rate(config, max(total_steps // every, 1))
    chain = [optax.clip_by_global_norm(options.clip_norm)] if options.clip_norm > 0 else []
    chain += _named(options, rate)
    if options.encoder_lr_scale != 1:
        chain.append(optax.masked(optax.scale(options.encoder_lr_scale), _in_encoder))
    if options.schedule == "plateau":
        chain.append(_scale_by_plateau(config))
    optimizer = optax.chain(*chain)
    if every > 1:
        optimizer = optax.MultiSteps(optimizer, every).gradient_transformation()
    return optimizer


def observe_validation(config: ConfigDict, opt_state: Any, score: jax.Array) -> Any:
    """The optimizer's state after a validation, which lowers the plateau schedule's rate.

    Args:
      config: as for `make_optimizer`, under optimizer.schedule=plateau.
      opt_state: of the optimizer made from it.
      score: scalar, the validation split's checkpoint.best_metric.
    """
    loss = -score if config.checkpoint.higher_is_better else score

    def observe(state):
        return _plateau(config).update({}, state, value=loss)[1] if _is_plateau(state) else state

    return jax.tree.map(observe, opt_state, is_leaf=_is_plateau)


def plateau_scale(opt_state: Any) -> float:
    """What the plateau schedule multiplies the learning rate by."""
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_plateau)
    return float(next(node for node in nodes if _is_plateau(node)).scale)


def _plateau(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """optax's reduction, of which every update is one evaluation."""
    options, patience = config.optimizer, config.optimizer.plateau_patience
    return optax.contrib.reduce_on_plateau(
        factor=options.plateau_factor,
        patience=max(1, round(patience / config.eval.every_epochs)),  # in evaluations
        rtol=0.0,  # a relative one would count a lower accuracy, whose loss is negative, as better
        atol=1e-4,
    )


def _scale_by_plateau(config: ConfigDict) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        return optax.tree.scale(state.scale, updates), state

    return optax.GradientTransformation(_plateau(config).init, update)


def _is_plateau(node: Any) -> bool:
    return isinstance(node, ReduceLROnPlateauState)


def _named(options: ConfigDict, rate: optax.Schedule) -> list[optax.GradientTransformation]:
    decay = optax.add_decayed_weights(options.weight_decay, mask=_is_kernel)
    scale = optax.scale_by_learning_rate(rate)
    if options.name == "adamw":
        return [optax.scale_by_adam(), decay, scale]
    if options.name == "radam":
        return [optax.scale_by_radam(), decay, scale]
    return [decay, optax.trace(decay=0.9, nesterov=True), scale]  # sgd


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
