"""The perception benchmarks: their baselines, their sampled votes, and their stream of photos."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks import jax_side, perception_folds, street_streaming
from configs import perception as perception_config
from jaxvision.input_pipeline.readers import perception


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 60 JPEGs and their scores.csv."""
    folder = tmp_path_factory.mktemp("photos")
    street_streaming.make_photos(folder, 60)
    return folder


def make_config(folder):
    config = perception_config.get_config()
    config.data.path, config.data.image_size = str(folder), 48
    config.data.folds = 3
    config.data.fractions = dict(train=0.6, val=0.3, test=0.1)
    return config


def test_ridge_equals_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    weights, intercept = perception_folds.ridge(x, y, 0.7)
    expected = Ridge(alpha=0.7).fit(x, y)
    np.testing.assert_allclose(x @ weights + intercept, expected.predict(x), rtol=1e-6)


def test_baselines_know_nothing_or_colours(photos):
    found = perception_folds.baselines(perception.load(make_config(photos)))
    assert found["mean"]["pearson"] == pytest.approx(0, abs=1e-6)
    assert found["mean"]["r2"] <= 0
    # Light is in the colours, and safe streets are light.
    assert found["colour histogram + ridge"]["pearson_safe"] > 0.3


def test_sampled_votes_agree_with_the_scores(photos, tmp_path):
    config = make_config(perception_folds.add_votes(photos, tmp_path, 200, seed=0))
    config.loss.votes = 1.0
    dataset = perception.load(config)
    composite = dataset.training.read
    scores = composite.pool.read.columns["score"][composite.parts]  # [P, 2, A]
    votes = composite.columns["votes"]
    ahead = scores[:, 0] - scores[:, 1]
    right = np.where(ahead > 0, votes[..., 0], votes[..., 1])
    assert right.sum() > 0.9 * votes[..., :2].sum() and votes[..., 2].sum() > 0


def test_photos_stream_in_shuffled_batches(photos, tmp_path):
    config = street_streaming.make_config(photos, 8)
    config.data.image_size = 48
    run = jax_side.make_run(config, str(tmp_path))
    batches = street_streaming.stream(run, 0)
    first = next(batches)
    assert first["image"].shape == (8, 48, 48, 3)
    assert not np.array_equal(first["image"], next(batches)["image"])
    found = street_streaming.memory_over(batches, 80, 8)
    assert list(found) == [str(8 * i) for i in range(11)] and min(found.values()) > 0.1
