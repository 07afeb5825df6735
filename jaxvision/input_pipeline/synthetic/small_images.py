"""scikit-learn's handwritten digits, enlarged: small images that need no download."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import tfds
from jaxvision.input_pipeline.dataset import SPLITS, Dataset
from jaxvision.input_pipeline.readers.small_images import from_arrays


def load(config) -> Dataset:
    """The 1,797 digits of 8 x 8 pixels (UCI, Alpaydin and Kaynak 1998), cut into splits by chance.

    Args:
      config: with `seed`, `data.image_size` (side to which they are enlarged, pixels) and
        `data.synthetic_examples` (how many in `train`, `val` and `test`).

    Raises:
      UserError: more examples are asked for than there are, or a data set of TFDS.
    """
    tfds.refuse_without_path(config)
    images, labels = _digits()
    size = config.data.image_size
    counts = [int(config.data.synthetic_examples[split]) for split in SPLITS]
    if sum(counts) > len(labels):
        raise UserError(f"data.synthetic_examples asks for {sum(counts)} digits of {len(labels)}")
    order = np.random.default_rng(config.seed).permutation(len(labels))
    arrays, start = {}, 0
    for split, count in zip(SPLITS, counts, strict=True):
        rows, start = order[start : start + count], start + count
        if count:
            enlarged = np.stack([_enlarged(images[row], size) for row in rows])
            arrays[split] = enlarged, labels[rows]
    source = "built-in digits of scikit-learn (no data.path given)"
    return from_arrays(source, arrays, [str(digit) for digit in range(10)])


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(images [N, 8, 8] of 0 to 16, labels int32 [N]), from the table that comes with scikit-learn.

    `sklearn.datasets.load_digits` gives the same; to import it takes a second of every start.
    """
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int32)


def _enlarged(digit: np.ndarray, size: int) -> np.ndarray:
    """[8, 8] of 0 to 16 -> uint8 [size, size, 1]."""
    pixels = Image.fromarray((digit * (255 / 16)).round().astype(np.uint8))
    return np.asarray(pixels.resize((size, size), Image.Resampling.BICUBIC))[..., None]
