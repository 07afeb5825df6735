"""scikit-learn's handwritten digits, enlarged: small images that need no download."""

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
    from sklearn.datasets import load_digits

    tfds.refuse_without_path(config)
    digits, size = load_digits(), config.data.image_size
    counts = [int(config.data.synthetic_examples[split]) for split in SPLITS]
    if sum(counts) > len(digits.target):
        raise UserError(
            f"data.synthetic_examples asks for {sum(counts)} digits of {len(digits.target)}"
        )
    order = np.random.default_rng(config.seed).permutation(len(digits.target))
    arrays, start = {}, 0
    for split, count in zip(SPLITS, counts, strict=True):
        rows, start = order[start : start + count], start + count
        if count:
            images = np.stack([_enlarged(digits.images[row], size) for row in rows])
            arrays[split] = images, digits.target[rows].astype(np.int32)
    source = "built-in digits of scikit-learn (no data.path given)"
    return from_arrays(source, arrays, [str(name) for name in digits.target_names])


def _enlarged(digit: np.ndarray, size: int) -> np.ndarray:
    """[8, 8] of 0 to 16 -> uint8 [size, size, 1]."""
    pixels = Image.fromarray((digit * (255 / 16)).round().astype(np.uint8))
    return np.asarray(pixels.resize((size, size), Image.Resampling.BICUBIC))[..., None]
