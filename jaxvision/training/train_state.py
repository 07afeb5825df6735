"""The state of a run and the pure functions that advance it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding

from jaxvision.task import Model


@flax.struct.dataclass
class TrainState:
    """Everything that a resumed run needs; one checkpoint holds exactly this.

    Attributes:
      step: int32, batches seen so far.
      params: the trainable parameters (nested dict).
      frozen: the parameters that never change; the optimizer does not see them.
      extra: the other collections (batch_stats, ...).
      opt_state: optax's.
      ema: {'count': updates so far, 'ema': average of `_averaged`}, as `optax.ema` keeps it, to be
        debiased; {} when train.ema_decay is 0.
      sums: {name: (numerator, denominator)} of the training log since its last line. Here, rather
        than on the host, so that the step needs no host sync and a resumed run logs the same.
      bad_step: int32, the first step whose loss or gradient was not finite; -1 while there is none.
    """

    step: jax.Array
    params: Any
    frozen: Any
    extra: Any
    opt_state: Any
    ema: Any
    sums: Any
    bad_step: jax.Array


def split_params(params: Any, trainable: Callable[[tuple[str, ...]], bool]) -> tuple[Any, Any]:
    """Splits a parameter tree into (trainable, frozen) trees by path."""
    flat = flatten_dict(params)
    chosen = {path: leaf for path, leaf in flat.items() if trainable(path)}
    frozen = {path: leaf for path, leaf in flat.items() if path not in chosen}
    return unflatten_dict(chosen), unflatten_dict(frozen)


def merge_params(params: Any, frozen: Any) -> Any:
    """The inverse of `split_params`."""
    return unflatten_dict({**flatten_dict(params), **flatten_dict(frozen)})


def create_state(
    model: Model, optimizer: Any, variables: Any, batch: Any, ema_decay: float
) -> TrainState:
    """The state before the first step.

    Args:
      model: its `trainable` decides what is optimized.
      optimizer: optax transformation.
      variables: from `task.init` (pretrained weights already in).
      batch: one training batch, or its shapes: fixes the names of the logged sums.
      ema_decay: > 0: a moving average of the weights is kept.
    """
    extra = {name: tree for name, tree in variables.items() if name != "params"}
    params, frozen = split_params(variables["params"], model.trainable)
    key = jax.random.key(0)
    sums = jax.eval_shape(
        lambda: model.loss(variables["params"], extra, model.augment(key, batch), key)[1][1]
    )
    sums = {**sums, "gradient_norm": (jnp.zeros(()), jnp.zeros(()))}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        extra=extra,
        opt_state=optimizer.init(params),
        ema=optax.ema(ema_decay).init(_averaged(params, extra))._asdict() if ema_decay else {},
        sums=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums),
        bad_step=jnp.full((), -1, jnp.int32),
    )


class Beginning(NamedTuple):
    """What makes the state before the first step: traced, not compiled.

    Attributes:
      init: of the model's variables.
      arguments: of `init`.
      create: (variables) -> the state.
      shapes: the state's, as it will lie on the devices.
    """

    init: Any
    arguments: tuple[jax.Array, Any]
    create: Callable[[Any], TrainState]
    shapes: TrainState


def trace_state(
    model: Model, optimizer: Any, batch: Any, seed: int, ema_decay: float, sharding: Sharding
) -> Beginning:
    """The beginning of a run.

    Args:
      model, optimizer, batch, ema_decay: as of `create_state`.
      seed: of the variables.
      sharding: of the state.
    """
    key = jax.random.key(seed)
    init = jax.jit(model.init).trace(key, batch)
    # One program: by itself each kind of array would be one to compile.
    create = jax.jit(lambda variables: create_state(model, optimizer, variables, batch, ema_decay))
    shapes = jax.eval_shape(create, init.out_info)
    shapes = jax.tree.map(lambda leaf: leaf.update(sharding=sharding), shapes)
    return Beginning(init, (key, batch), create, shapes)


def _averaged(params: Any, extra: Any) -> dict[str, Any]:
    """What a moving average of the weights is of: the statistics that belong to them, too."""
    statistics = {"batch_stats": extra["batch_stats"]} if "batch_stats" in extra else {}
    return {"params": params, **statistics}


def eval_variables(state: dict[str, Any] | TrainState, ema_decay: float) -> dict[str, Any]:
    """The variables to judge and to use: the moving average where the run keeps one.

    The average is debiased (Kingma and Ba 2015, section 3): it began at 0, and is divided by the
    weight of all that has been added since.

    Args:
      state: a TrainState, or its fields as nested dicts.
      ema_decay: train.ema_decay.
    """
    fields = vars(state) if isinstance(state, TrainState) else state
    params, extra, ema = fields["params"], fields["extra"], fields["ema"]
    if ema:
        # Before the first update there is nothing to divide: the weights as they are.
        count, average = ema["count"], ema["ema"]
        debiased = optax.tree.bias_correction(average, ema_decay, jnp.maximum(count, 1))
        current = _averaged(params, extra)
        used = jax.tree.map(lambda a, c: jnp.where(count > 0, a, c), debiased, current)
        params, extra = used["params"], {**extra, **{n: used[n] for n in used if n != "params"}}
    return {"params": merge_params(params, fields["frozen"]), **extra}


def make_train_step(
    model: Model, optimizer: Any, seed: int, ema_decay: float, accumulate_steps: int
) -> Callable[[TrainState, Any], TrainState]:
    """Returns the pure step (state, batch) -> state; jit it where its inputs are known.

    Every random number of step t comes from fold_in(key(seed), t): no key is stored, and a resumed
    run draws what the undisturbed one would have drawn.
    """

    def train_step(state: TrainState, batch: Any) -> TrainState:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        augment_key, loss_key = jax.random.split(key)
        batch = model.augment(augment_key, batch)

        def loss_fn(params):
            return model.loss(merge_params(params, state.frozen), state.extra, batch, loss_key)

        (loss, (extra, sums)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(grads)
        sums = {**sums, "gradient_norm": (norm, jnp.ones(()))}
        ema = state.ema
        if ema_decay > 0:
            average = optax.EmaState(**state.ema)
            _, average = optax.ema(ema_decay).update(_averaged(params, extra), average)
            # While a gradient is still being accumulated the weights stand still; so does this.
            updated = (state.step + 1) % accumulate_steps == 0
            ema = jax.tree.map(
                lambda new, old: jnp.where(updated, new, old), average._asdict(), state.ema
            )
        bad = ~(jnp.isfinite(loss) & jnp.isfinite(norm)) & (state.bad_step < 0)
        return TrainState(
            step=state.step + 1,
            params=params,
            frozen=state.frozen,
            extra=extra,
            opt_state=opt_state,
            ema=ema,
            sums=jax.tree.map(jnp.add, state.sums, sums),
            bad_step=jnp.where(bad, state.step + 1, state.bad_step),
        )

    return train_step


def run_steps(
    train_step: Callable, take: Callable, data: Any, state: TrainState, indices: jax.Array
) -> TrainState:
    """Steps through resident data: gathers each batch on the device.

    One step is applied as it stands; several go under `lax.scan`. On CPU ask for one a call: XLA's
    CPU backend runs the gradients of convolutions inside loops some 40 times slower.

    Args:
      train_step: from `make_train_step`.
      take: (data, rows [B]) -> batch, as `Feed.take`.
      data: the whole split on the devices, as `Feed.arrays`.
      state: the state before.
      indices: int32 [K, B], the rows of K batches.
    """

    def body(state, rows):
        return train_step(state, take(data, rows)), None

    if indices.shape[0] == 1:
        return body(state, indices[0])[0]
    return jax.lax.scan(body, state, indices)[0]
