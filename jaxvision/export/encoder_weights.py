"""`--mode=export_weights`: an encoder's weights as a file that `model.encoder.weights` takes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.models import encoder_options, encoders, pretrained
from jaxvision.trained import load_trained


def export_weights(config: ConfigDict, workdir: str, output: str) -> None:
    """Writes an encoder as safetensors, whose header says what it is.

    Args:
      config: with a workdir, the run's; without, `model.encoder.weights` names what to convert.
      workdir: a run, whose best checkpoint's encoder is written (the moving average of the weights
        where the run keeps one); '': the published or saved weights are.
      output: path of the .safetensors file; '' is <workdir>/encoder.safetensors.

    Raises:
      UserError: the task has no encoder, nothing was trained in the workdir, there are no weights
        to convert, or the file cannot be written.
    """
    if "encoder" not in config.model:
        raise UserError(f"task {config.task!r} has no encoder whose weights could be exported")
    encoder = encoder_options.make(config, encoders.CLASSIFIERS)
    if workdir:
        variables, source = _trained(config, workdir)
    else:
        if not output:
            raise UserError(
                "--mode=export_weights without --workdir needs --output: a .safetensors"
            )
        variables, source = _published(encoder)
    path = Path(output or Path(workdir) / "encoder.safetensors")
    try:
        pretrained.save(path, encoder.name, encoder.model, variables, source)
    except OSError as error:
        raise UserError(f"cannot write --output={str(path)!r}: {error.strerror}") from error
    size = sum(leaf.size for leaf in jax.tree.leaves(variables))
    say(f"{path}: {encoder.name}, {size:,} numbers ({source})")


def _trained(config: ConfigDict, workdir: str) -> tuple[dict[str, Any], str]:
    trained = load_trained(config, workdir)
    trees = {name: tree["encoder"] for name, tree in trained.variables.items() if "encoder" in tree}
    weights = config.model.encoder.weights
    return trees, f"step {trained.step} of {workdir}, trained with weights={weights!r}"


def _published(encoder: encoder_options.Encoder) -> tuple[dict[str, Any], str]:
    if not encoder.weights:
        raise UserError(
            "nothing to export: give --workdir of a run, or --config with "
            "--config.model.encoder.weights=imagenet or the path of a weights file"
        )
    images = jnp.zeros((1, 64, 64, 3))  # variables do not depend on the size
    shapes = jax.eval_shape(lambda: encoder.model.init(jax.random.key(0), images, train=False))
    return pretrained.load(encoder.weights, encoder.name, encoder.model, shapes), encoder.weights
