"""Pooling gives what flax gives; on a CPU with a gradient of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvision.models import pool


@pytest.mark.parametrize("height, width", [(4, 6), (5, 4), (3, 7)])
@pytest.mark.parametrize("values", [3, 1000])  # of few values, many are equal
def test_the_gradient_is_that_of_two_maxima(height, width, values):
    rng = np.random.default_rng(values)
    x = jnp.asarray(rng.integers(0, values, (3, height, width, 5)), jnp.float32)
    pooled, backward = jax.vjp(jax.jit(pool.max_pool_2x2), x)
    np.testing.assert_array_equal(pooled, nn.max_pool(x, (2, 2), strides=(2, 2)))
    gradient = jnp.asarray(rng.normal(size=pooled.shape), jnp.float32)
    expected = jax.vjp(pool._pairwise, x)[1](gradient)[0]  # jnp.maximum's own
    np.testing.assert_array_equal(backward(gradient)[0], expected)
    np.testing.assert_allclose(expected.sum(), gradient.sum(), rtol=1e-4)
