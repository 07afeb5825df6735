"""The configs that are timed: those of the recipes, on built-in data."""

import importlib
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from benchmarks import jax_side


class System(NamedTuple):
    """A config and what is changed in it.

    Attributes:
      file: in configs/.
      variant: after the colon; ''.
      overrides: {field: value}.
      quick: further ones, for a run of seconds on a CPU.
      frozen: whether its encoder has weights, random ones here, and does not learn.
    """

    file: str
    variant: str
    overrides: dict[str, object]
    quick: dict[str, object]
    frozen: bool = False

    def flags(self, quick: bool) -> list[str]:
        """The arguments of `main.py`."""
        changed = self.overrides | (self.quick if quick else {})
        name = f"configs/{self.file}.py" + (f":{self.variant}" if self.variant else "")
        return [f"--config={name}", *(f"--config.{k}={_text(v)}" for k, v in changed.items())]

    def config(self, quick: bool, folder: Path) -> ConfigDict:
        """The same as a config; weights are kept in `folder`."""
        module = importlib.import_module(f"configs.{self.file}")
        config = module.get_config(*([self.variant] if self.variant else []))
        changed = self.overrides | (self.quick if quick else {})
        config.update_from_flattened_dict(changed)
        if self.frozen:
            config.model.encoder.weights = jax_side.random_weights(config, folder)
        return config


def _text(value: object) -> str:
    """As a flag; tuples as Python writes them."""
    return str(value).replace(" ", "")


_TINY_ENCODER = {"model.encoder.name": "mobilenet_v2_tiny"}
_PHOTOS = {"data.image_size": 256, "data.synthetic_examples.train": 128}
_FEW_PHOTOS = {
    **_TINY_ENCODER,
    "data.image_size": 40,
    "data.synthetic_examples.train": 16,
    "batch_size": 8,
    "model.hidden": (8, 8),
}

# Those that compile soonest first: where time is short, there is more to show.
SYSTEMS = {
    "fer": System(
        "fer",
        "",
        {"data.synthetic_examples.train": 1024},
        {
            "model.encoder.name": "cnn_tiny",
            "data.image_size": 16,
            "data.synthetic_examples.train": 64,
        },
    ),
    "ram": System(
        "ram",
        "mnist",
        # A random place first, as in the PyTorch version.
        {"data.image_size": 28, "model.first": "random"},
        {"model.hidden": 16, "model.widths": (8, 8, 16), "model.glimpses": 3},
    ),
    "rat": System(
        "rat",
        "",
        {},
        {"model.widths": (4, 4, 4), "data.synthetic_examples.train": 16, "batch_size": 8},
    ),
    "unet": System(
        "unet",
        "",
        {"data.synthetic_examples.train": 256},
        {
            **_TINY_ENCODER,
            "data.image_size": 32,
            "data.synthetic_examples.train": 8,
            "batch_size": 4,
            "model.decoder_widths": (8, 8, 8, 8, 8),
        },
    ),
    "perception": System("perception", "", _PHOTOS, _FEW_PHOTOS, frozen=True),
    "perception_finetuned": System("perception", "", _PHOTOS, _FEW_PHOTOS),
}
