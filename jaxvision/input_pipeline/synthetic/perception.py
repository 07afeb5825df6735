"""Built-in street scenes with scores and votes, as Place Pulse 2.0 has them.

Streets lie in a few cities, in which greenery, upkeep, litter, traffic, people and light change
from place to place; a scene shows them, and its scores follow from them. Votes compare two scenes:
who votes sees the difference of their scores through noise, and may call them equal.
"""

import functools
import random

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import SPLITS, Dataset
from jaxvision.input_pipeline.readers.perception.rows import Photos, choose_attributes, make_dataset
from jaxvision.input_pipeline.synthetic.street_scene import Street, render

VERSION = 1  # raise it with every change of what `render` or the scores give
IMAGE_SIZE = 96  # where data.image_size is 0
# How a score follows from (green, upkeep, litter, traffic, people, light), before it is scaled.
WEIGHTS = {
    "safe": (0.2, 0.7, -0.8, 0.0, 0.4, 0.8),
    "lively": (0.0, 0.2, 0.1, 0.8, 1.0, 0.2),
    "beautiful": (1.0, 0.6, -0.7, -0.3, 0.0, 0.3),
    "wealthy": (0.4, 1.2, -0.5, 0.2, 0.0, 0.1),
}
CITIES = {"Avon": (51.45, -2.59), "Brunn": (48.01, 15.62), "Corva": (41.92, 12.51)}
VOTE_NOISE = 0.35  # of a score's standard deviation, as each voter sees the difference
EQUAL = 0.25  # smaller differences are called equal


def make_street(rng: random.Random, city: int, east: float, north: float) -> Street:
    """What the street at a place shows: waves over the city, and chance."""
    values = []
    for i in range(len(Street._fields)):
        phase = 1.7 * i + 2.1 * city
        wave = np.sin(6 * east + phase) * np.cos(5 * north - phase)
        values.append(min(max(0.5 + 0.3 * float(wave) + rng.gauss(0, 0.22), 0.0), 1.0))
    return Street(*values)


def make_streets(seed: int, count: int) -> tuple[list[str], list[Street], np.ndarray]:
    """Names as Place Pulse has them, streets, and places [N, 2] in degrees."""
    names, streets, places = [], [], []
    for i in range(count):
        rng = random.Random(f"street {seed} {i}")
        city = rng.randrange(len(CITIES))
        east, north = rng.random(), rng.random()
        name, (latitude, longitude) = list(CITIES.items())[city]
        place = (latitude + 0.06 * north, longitude + 0.09 * east)
        streets.append(make_street(rng, city, east, north))
        places.append(place)
        names.append(f"{place[0]:.6f}_{place[1]:.6f}_{i:05d}_{name}")
    return names, streets, np.array(places, np.float32)


def make_scores(streets: list[Street]) -> np.ndarray:
    """Scores about 25, deviating by about 5: float32 [N, A]."""
    weights = np.array(list(WEIGHTS.values())).T  # [6, A]
    values = (np.array(streets) - 0.5) @ weights  # [N, A]
    return (25 + 5 * values / (0.3 * np.linalg.norm(weights, axis=0))).astype(np.float32)


def make_votes(rng: np.random.Generator, scores: np.ndarray, pairs: int) -> np.ndarray:
    """One vote an attribute on each of `pairs` random pairs of scenes.

    Returns:
      int32 [pairs * A, 4]: left, right, attribute, choice (0 left, 1 right, 2 equal).
    """
    photos, attributes = scores.shape
    left = rng.integers(photos, size=pairs)
    right = (left + 1 + rng.integers(photos - 1, size=pairs)) % photos
    left, right = np.repeat(left, attributes), np.repeat(right, attributes)
    asked = np.tile(np.arange(attributes), pairs)
    seen = (scores[left, asked] - scores[right, asked]) / scores.std(axis=0)[asked]
    seen += VOTE_NOISE * rng.standard_normal(len(asked))
    choice = np.where(np.abs(seen) < EQUAL, 2, np.where(seen > 0, 0, 1))
    return np.stack([left, right, asked, choice], axis=1).astype(np.int32)


def _read(streets: list[Street], seed: int, size: int, i: int) -> np.ndarray:
    return render(streets[i], f"scene {seed} {i}", size)


def _check_options(options) -> None:
    for name, plain in (("split", "image"), ("test_cities", ()), ("folds", 0), ("fold", 0)):
        value = options[name]
        if value != plain:
            raise UserError(
                f"data.{name}={value!r} is for photos at data.path; the built-in scenes have "
                "splits of their own: leave it out, or give data.path"
            )


def load(config) -> Dataset:
    """The synthetic data set of `config`, drawn when read.

    Args:
      config: with `seed`, `data.image_size` (pixels; 0: IMAGE_SIZE), `data.synthetic_examples` (how
        many scenes in `train`, `val` and `test`; a split of 0 is left out) and
        `data.synthetic_pairs` (voted on, a scene).
    """
    _check_options(config.data)
    size = config.data.image_size or IMAGE_SIZE
    counts = {split: int(config.data.synthetic_examples[split]) for split in SPLITS}
    names, streets, places = make_streets(config.seed, sum(counts.values()))
    attributes = choose_attributes(tuple(WEIGHTS), tuple(config.data.attributes))
    scores = make_scores(streets)[:, [list(WEIGHTS).index(name) for name in attributes]]
    # Training scenes come last, so that more of them leave validation and test as they were.
    starts = {"val": 0, "test": counts["val"], "train": counts["val"] + counts["test"]}
    splits = {s: np.arange(starts[s], starts[s] + n, dtype=np.int32) for s, n in counts.items()}
    rng = np.random.default_rng(config.seed)
    votes = {
        split: make_votes(rng, scores[splits[split]], int(config.data.synthetic_pairs * n))
        for split, n in counts.items()
        if n > 1
    }
    photos = Photos(
        names=names,
        image=functools.partial(_read, streets, config.seed, size),
        size=size,
        version=f"synthetic perception {VERSION} {config.seed} {size}",
        scores=scores,
        places=places,
        splits=splits,
        votes=votes,
    )
    source = "built-in synthetic street scenes (no data.path given)"
    return make_dataset(config, photos, attributes, source, ())
