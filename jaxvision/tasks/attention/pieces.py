"""The clutter of evaluation: pieces of other images, always the same for each image."""

from typing import Any, NamedTuple

import numpy as np

from jaxvision.input_pipeline.dataset import Dataset, fingerprint

SEED = 20140624  # whatever the seed of the run


class _WithPieces(NamedTuple):
    """Reads a row with 'pieces', uint8 [count, side, side, C], beside its image; picklable."""

    read: Any
    rows: int
    count: int
    side: int

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        example, rng = self.read(row), np.random.default_rng((SEED, row))
        others = (row + rng.integers(1, max(self.rows, 2), self.count)) % self.rows
        return {**example, "pieces": np.stack([self._cut(rng, int(i)) for i in others])}

    def _cut(self, rng: np.random.Generator, row: int) -> np.ndarray:
        image = self.read(row)["image"]
        top, left = (int(rng.integers(0, n - self.side + 1)) for n in image.shape[:2])
        return image[top : top + self.side, left : left + self.side]


def with_pieces(dataset: Dataset, count: int, side: int) -> Dataset:
    """The data set, each row with `count` pieces of `side` pixels, cut from others of its split.

    So what evaluation strews over an image depends on its place in its split alone, not on the
    batch that it happens to be in.
    """
    splits = {
        name: split._replace(read=_WithPieces(split.read, len(split.names), count, side))
        for name, split in dataset.splits.items()
    }
    key = fingerprint([dataset.fingerprint, "pieces 1", count, side])
    return dataset._replace(splits=splits, fingerprint=key)
