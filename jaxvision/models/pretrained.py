"""Weights for the encoders: fetched from keras.applications, or read from and written to files.

A source is read into {layer: {array: value}}, then fitted to a model's variables by name: every
array is used exactly once and every variable is filled, or a UserError names the odd ones. Files of
our own are safetensors whose header says what they hold; nothing here reads or writes a pickle.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialized

from jaxvision.errors import UserError
from jaxvision.models import keras_weights

HEADER = "jaxvision"  # the key in a file's header under which it says what it holds
# Fields of an encoder that its weights do not depend on.
RUNTIME_FIELDS = {
    "num_classes",
    "bn_momentum",
    "frozen",
    "dtype",
    "dropout_rate",
    "drop_connect_rate",
    "attention",
    "block_attention",
    "head_attention",
    "remat",
    "flatten",
    "parent",
    "name",
}


def load(weights, name, model, variables, keep=(), new=()):
    """Fills an encoder's variables from published weights or from a file.

    Args:
      weights: 'imagenet' (fetched, checked and cached by keras.applications), or the path of a
        keras `.h5` or `.weights.h5` file, or of a `.safetensors` file that `save` wrote.
      name: the encoder's name in `ENCODERS`.
      model: the encoder module; its fields say which layers there are.
      variables: {'params': ..., 'batch_stats': ...} of arrays or ShapeDtypeStructs.
      keep: layers that stay as they are in `variables`, whatever the source has for them: a new
        head, ('predictions',).
      new: layers that stay as they are where the source has nothing for them.

    Returns:
      Variables of the same structure, as float32 arrays. A source may also hold the layers of the
      classifier that `model` leaves out, which are skipped.

    Raises:
      UserError: weights that do not exist, cannot be fetched or read, or do not fit.
    """
    layers = {_layer(k) for k in traverse_util.flatten_dict(variables, sep="/")}
    whole = _layers_with(model, num_classes=1)
    if weights == "imagenet":
        # keras has a larger file for whoever needs the classifier's own layers.
        classifier = whole - _layers_with(model, num_classes=0)
        arrays = keras_weights.fetch(name, model, with_top=bool(classifier & layers - set(keep)))
    else:
        arrays = _read(Path(weights), name, model)
    held = {_layer(k) for k in arrays}
    keep = (*keep, *(layer for layer in new if layer not in held))
    top = whole - _layers_with(model, num_classes=None)
    arrays = {k: v for k, v in arrays.items() if _layer(k) not in top - layers}
    return fit(variables, arrays, name, weights, keep)


def require(weights, name, model):
    """Fetches 'imagenet' weights, or looks for a file, so that what is wrong shows early.

    Raises:
      UserError: as `load`.
    """
    if weights == "imagenet":
        keras_weights.fetch(name, model, with_top=False)
    else:
        _read(Path(weights), name, model)


def fit(variables, arrays, name, source, keep=()):
    """`variables` filled from `arrays` {'params/<layer>/kernel': array, ...}, one to one.

    Layers in `keep` stay as they are, and arrays for them are passed over.

    Raises:
      UserError: names the arrays that are missing, left over, or of another shape.
    """
    wanted = traverse_util.flatten_dict(variables, sep="/")
    kept = {k: v for k, v in wanted.items() if _layer(k) in keep}
    wanted = {k: v for k, v in wanted.items() if k not in kept}
    arrays = {k: v for k, v in arrays.items() if _layer(k) not in keep}
    _require_match(source, name, wanted, arrays)
    filled = {k: jnp.asarray(arrays[k], jnp.float32) for k in wanted}
    return traverse_util.unflatten_dict({**filled, **kept}, sep="/")


def save(path, name, model, variables, source):
    """Writes an encoder's variables to `path` (.safetensors), and into its header what they are.

    Arrays are named as in 'params/block_1_expand/kernel'. `source` is a line for the reader: where
    the weights come from.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"weights are saved as .safetensors, not {path.name!r}")
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in flat.items()}
    about = {**_architecture(name, model), "source": source, "sha256": digest(arrays)}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: a crash leaves the old file or the new one.
    draft = path.with_name(path.name + ".partial")
    # Not save_file, which lets nobody but the user read what it writes.
    draft.write_bytes(serialized(arrays, {HEADER: json.dumps(about)}))
    os.replace(draft, path)


def digest(arrays):
    """A sha256 over {name: array}, names, shapes and values."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _architecture(name, model):
    """What a weights file must agree on with the model that loads it."""
    fields = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in RUNTIME_FIELDS
    }
    about = {"architecture": name, "fields": fields, "preprocessing": model.preprocessing}
    return json.loads(json.dumps(about))  # tuples as the lists that a file gives back


def _read(path, name, model):
    if not path.is_file():
        raise UserError(f"no weights file at {str(path)!r}; give a path, 'imagenet', or ''")
    if path.suffix == ".h5":
        return keras_weights.read_h5(path)
    if path.suffix != ".safetensors":
        raise UserError(f"weights must be .h5, .weights.h5 or .safetensors, not {path.name!r}")
    try:
        with safe_open(path, "numpy") as file:
            header, names = file.metadata() or {}, file.keys()
            arrays = {key: file.get_tensor(key) for key in names}
    except SafetensorError as e:
        raise UserError(f"{path} is not a safetensors file, or damaged: {e}") from e
    if HEADER not in header:
        raise UserError(
            f"{path} does not say which encoder it is of: --mode=export_weights writes files that "
            "do, from a run or from keras' .h5"
        )
    about = json.loads(header[HEADER])
    for key, value in _architecture(name, model).items():
        if about[key] != value:
            raise UserError(
                f"{path} holds weights with {key} {about[key]}, the config's encoder {name!r} has "
                f"{value}"
            )
    if digest(arrays) != about["sha256"]:
        raise UserError(f"{path} is damaged: the sha256 of its arrays is not that in its header")
    return arrays


def _layer(flat_name):
    return flat_name.split("/")[1]


def _layers_with(model, num_classes):
    return set(model.clone(num_classes=num_classes, parent=None).layer_order())


def _require_match(source, name, wanted, arrays):
    """Every array used once, every variable filled, every shape equal; else UserError."""
    missing = sorted(wanted.keys() - arrays.keys())
    extra = sorted(arrays.keys() - wanted.keys())
    shapes = [
        f"{k} is {arrays[k].shape}, not {wanted[k].shape}"
        for k in sorted(wanted.keys() & arrays.keys())
        if tuple(arrays[k].shape) != tuple(wanted[k].shape)
    ]
    problems = [
        ("missing", [f"{k} {tuple(wanted[k].shape)}" for k in missing]),
        ("not in the model", [f"{k} {tuple(arrays[k].shape)}" for k in extra]),
        ("of another shape", shapes),
    ]
    lines = [f"{len(items)} {what}: {_some(items)}" for what, items in problems if items]
    if lines:
        raise UserError(f"weights {str(source)!r} do not fit {name!r}: {'; '.join(lines)}")


def _some(items, limit=5):
    more = f", and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
