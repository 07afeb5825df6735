"""The encoder that a config describes: its weights, and which of its layers are trained.

For every task whose config has `model.encoder` (`configs.common.get_encoder` lists the fields). The
task puts `Encoder.model` into its network under the name 'encoder' and hands `load_weights` and
`trainable` on to its own `Task`.
"""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.models import encoders, pretrained


class Encoder(NamedTuple):
    """What `model.encoder` comes to.

    Attributes:
      name: in `encoders.ENCODERS`.
      model: the module; its field `frozen` names the layers that compute in training as in
        evaluation: those that stay as they are, or with `inference_mode` all.
      frozen: names of the layers that stay as they are.
      weights: 'imagenet', a path, or '' for random ones; never 'auto'.
      freeze: whether layers are frozen at all.
      unfreeze_from: the first layer that is trained nevertheless; '': none is.
    """

    name: str
    model: nn.Module
    frozen: tuple[str, ...]
    weights: str
    freeze: bool
    unfreeze_from: str


def make(
    config: ConfigDict, known: dict[str, Callable] = encoders.ENCODERS, **fields: Any
) -> Encoder:
    """The encoder of a config.

    Args:
      config: `model.encoder` says what is wanted, `data.path` what its 'auto' means.
      known: the encoders to choose from, by name.
      fields: further fields of the module (dtype, num_classes).

    Raises:
      UserError: unknown encoder, or no layer is called as in `unfreeze_from`.
    """
    options = config.model.encoder
    if options.name == "mobilenet_v2":
        fields["width"] = options.width
    model = encoders.make(options.name, known, bn_momentum=options.bn_momentum, **fields)
    weights = options.weights
    if weights == "auto":
        weights = "imagenet" if config.data.path else ""
    freeze = bool(weights) if options.freeze is None else options.freeze
    order = model.layer_order()
    before = _layers_before(options.unfreeze_from, options.name, order)
    frozen = before if freeze else ()
    model = model.clone(frozen=tuple(order) if options.inference_mode else frozen, parent=None)
    return Encoder(options.name, model, frozen, weights, freeze, options.unfreeze_from)


def _layers_before(layer: str, name: str, order: list[str]) -> tuple[str, ...]:
    if not layer:
        return tuple(order)
    if layer not in order:
        near = difflib.get_close_matches(layer, order, n=5, cutoff=0.4) or order[:: len(order) // 4]
        raise UserError(
            f"model.encoder.unfreeze_from={layer!r} is no layer of {name!r}: use one of its "
            f"{len(order)}, such as {', '.join(near)}, or '' to train none"
        )
    return tuple(order[: order.index(layer)])


def check(config: ConfigDict, known: dict[str, Callable], fresh: bool) -> None:
    """Finds, before any data is read, what of an encoder cannot be; fetches its weights.

    Args:
      config: as for `make`.
      known: as for `make`.
      fresh: whether a run begins, whose weights must be had and whose fields must mean something.

    Raises:
      UserError: as `make`'s, a width or attention that the encoder has no place for, weights that
        cannot be had.
    """
    encoder, options = make(config, known), config.model.encoder
    stages = len(getattr(encoder.model, "filters", None) or encoder.model.repeats)
    given = len(config.model.get("attention", ()))
    if given > stages:
        raise UserError(
            f"model.attention has {given} entries, but {encoder.name!r} has {stages} stages: "
            "give one for each, or fewer"
        )
    if not fresh:
        return
    # The tiny ones, for trying out a config, stand in for any.
    if options.width != 1.0 and encoder.name != "mobilenet_v2" and "_tiny" not in encoder.name:
        raise UserError(
            f"model.encoder.width={options.width:g} means nothing for {encoder.name!r}, which has "
            "one width: set model.encoder.width=1.0"
        )
    if options.inference_mode and not encoder.weights and not config.init_from:
        raise UserError(
            "model.encoder.inference_mode=True keeps batch norm on statistics that random weights "
            "do not have: give model.encoder.weights, or set inference_mode=False"
        )
    if encoder.weights:
        pretrained.require(encoder.weights, encoder.name, encoder.model)


def load_weights(encoder: Encoder, variables: dict[str, Any]) -> dict[str, Any]:
    """`variables` of the whole network with the published or saved weights under 'encoder'.

    Raises:
      UserError: the weights cannot be fetched or read or do not fit; the options contradict each
        other.
    """
    if encoder.freeze and not encoder.weights:
        raise UserError(
            "model.encoder.freeze=True would keep random weights: give model.encoder.weights "
            "('imagenet', or a path), or set freeze=False"
        )
    if encoder.unfreeze_from and not encoder.freeze:
        raise UserError(
            f"model.encoder.unfreeze_from={encoder.unfreeze_from!r} means nothing where the whole "
            "encoder is trained: set freeze=True with weights, or unfreeze_from=''"
        )
    frozen, layers = len(encoder.frozen), len(encoder.model.layer_order())
    begun = f"weights {encoder.weights!r}" if encoder.weights else "from scratch"
    say(f"encoder: {encoder.name}, {begun}, {frozen} of {layers} layers frozen")
    if not encoder.weights:
        return variables
    # VGG has no batch_stats, whatever the rest of the network has.
    inside = {name: tree["encoder"] for name, tree in variables.items() if "encoder" in tree}
    # Attention that was added to a published network begins at random.
    new = tuple(layer for layer in inside["params"] if "attention" in layer)
    loaded = pretrained.load(encoder.weights, encoder.name, encoder.model, inside, new=new)
    filled = {name: {**variables[name], "encoder": tree} for name, tree in loaded.items()}
    return {**variables, **filled}


def trainable(encoder: Encoder, path: tuple[str, ...]) -> bool:
    """Whether the parameter at `path` is trained: ('encoder', <layer>, 'kernel') if not frozen."""
    return not (path[0] == "encoder" and path[1] in encoder.frozen)
