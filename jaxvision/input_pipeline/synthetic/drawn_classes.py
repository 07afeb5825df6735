"""Built-in pictures of classes, drawn row by row: what the drawings have in common."""

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.input_pipeline.dataset import SPLITS, Dataset, Split, fingerprint
from jaxvision.input_pipeline.labelled import to_square


def make_dataset(
    config: Any,
    source: str,
    classes: Sequence[str],
    render: Callable[[random.Random, str], Image.Image],
    version: Sequence[Any],
) -> Dataset:
    """As many pictures as config.data.synthetic_examples counts; the classes take turns.

    Args:
      config: the run's.
      source: one line for the log.
      classes: names; rows are as `labelled.make_dataset`'s.
      render: (random numbers, a class) -> an RGB picture; at module level, so that it pickles.
      version: what changes whenever the drawings do.
    """
    side, channels, seed = config.data.image_size, config.data.channels, config.seed
    examples, splits = dict(config.data.synthetic_examples), {}
    for split in SPLITS:
        count = examples.get(split, 0)
        if count:
            read = functools.partial(_read, render, tuple(classes), seed, split, side, channels)
            splits[split] = Split([f"{split}_{i:05d}" for i in range(count)], read, count)
    train = examples.get("train", 0)
    counts = [len(range(i, train, len(classes))) for i in range(len(classes))]
    return Dataset(
        source=source,
        splits=splits,
        notes=[],
        info={"classes": list(classes), "train_counts": counts, "channels": channels},
        fingerprint=fingerprint([*version, seed, side, channels, examples]),
    )


def _read(render, classes, seed, split, side, channels, row: int) -> dict[str, np.ndarray]:
    label = row % len(classes)
    picture = render(random.Random(f"{seed} {split} {row}"), classes[label])
    image = to_square(np.asarray(picture), side, channels)
    return {"image": image, "label": np.asarray(label, np.int32)}
