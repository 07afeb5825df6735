"""Pictures between their pixels, as scipy has them."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.input_pipeline.augment.sampling import bilinear


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bilinear_is_scipys(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 9, 3)).astype(dtype)
    ys, xs = rng.uniform(-2, 9, (11, 5)), rng.uniform(-2, 11, (11, 5))  # beyond the border, too
    ys[0], xs[0] = (0, 6, 6, 3, 2), (8, 8, 0, 4, 1)  # at pixels
    ours = jax.jit(bilinear)(image, ys.astype(np.float32), xs.astype(np.float32))
    assert ours.shape == (11, 5, 3) and ours.dtype == np.float32
    for channel in range(3):
        plane = image[..., channel].astype(np.float64)
        expected = ndimage.map_coordinates(plane, [ys, xs], order=1, mode="nearest")
        np.testing.assert_allclose(ours[..., channel], expected, atol=1e-3)
