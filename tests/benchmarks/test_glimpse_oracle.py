"""Greedy places against errors that are known."""

import numpy as np

from benchmarks.glimpse_oracle import candidates, greedy

# Three images, each known once its own corner was looked at.
CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]])


def errors(locations):
    """[t + 1, 3]: the squared distance to each image's corner of the nearest place so far."""
    away = ((np.asarray(locations) - CORNERS) ** 2).sum(-1) + 1e-3  # [t, 3]
    return np.concatenate([np.full((1, 3), 9.0), np.minimum.accumulate(away)])


def test_an_oracle_looks_where_each_image_is_and_a_fixed_sequence_where_most_are():
    places = candidates(5)
    for_each = greedy(errors, places, glimpses=2, images=3, for_each=True)
    np.testing.assert_array_equal(for_each[0], CORNERS)
    fixed = greedy(errors, places, glimpses=2, images=3, for_each=False)
    assert (fixed == fixed[:, :1]).all(), "the same places for every image"
    np.testing.assert_array_equal(fixed[:, 0], [[-1, -1], [1, -1]])
