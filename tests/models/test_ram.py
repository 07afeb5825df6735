"""The retina, the rollout and the fixed policies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.models import ram
from jaxvision.models.ram import RAM
from jaxvision.models.retina import Retina, spread_points
from jaxvision.tasks.attention.glimpses import fixed_locations, fraction_seen, grid_points


def random_images(count=4, side=12, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, channels), np.uint8)


def tiny_ram(**options):
    sizes = dict(size=4, hidden=8, widths=(6, 6, 8), decoder_width=8, glimpses=3, std=0.2)
    return RAM(**{"head": "classifier", "classes": 3, "shape": (12, 12, 1), **sizes, **options})


@functools.partial(jax.jit, static_argnums=0)
def init(model, images):
    return model.init(jax.random.key(0), images, jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables, images, key, given=None):
    return model.apply(variables, images, key, given)


def looked_at(image, location, side, size):
    """One square of the retina by the definition, pixel by pixel."""
    height, width, channels = image.shape
    column = np.round((location[0] + 1) / 2 * width)
    row = np.round((location[1] + 1) / 2 * height)
    square = np.zeros((side, side, channels))
    for i in range(side):
        for j in range(side):
            y, x = int(row) - side // 2 + i, int(column) - side // 2 + j
            if 0 <= y < height and 0 <= x < width:
                square[i, j] = image[y, x] / 255
    ratio = side // size
    return square.reshape(size, ratio, size, ratio, channels).mean((1, 3))


@pytest.mark.parametrize("size, patches, scale", [(8, 1, 2), (6, 3, 2), (5, 2, 3), (3, 3, 2)])
def test_retina_equals_its_definition(size, patches, scale):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 17, 23, 2), np.uint8)
    locations = rng.uniform(-1, 1, (20, 2)).astype(np.float32)
    locations[:4] = [(-1, -1), (1, -1), (-1, 1), (1, 1)]
    retina = Retina(size, patches, scale)
    seen = np.asarray(ram.look(retina, ram.pad(retina, images), jnp.asarray(locations)))
    assert seen.shape == (20, patches, size, size, 2)
    for image, location, squares in zip(images, locations, seen, strict=True):
        for side, square in zip(retina.sides, squares, strict=True):
            np.testing.assert_allclose(square, looked_at(image, location, side, size), atol=1e-6)


def test_location_is_x_then_y_and_black_beyond_the_border():
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[0, :8, 8:] = 255  # top right
    retina = Retina(4, 1, 2)

    def mean(x, y):
        return float(ram.look(retina, ram.pad(retina, image), jnp.array([[x, y]])).mean())

    assert [mean(0.5, -0.5), mean(-0.5, -0.5), mean(0.5, 0.5), mean(-0.5, 0.5)] == [1, 0, 0, 0]
    assert mean(1.0, -1.0) == 0.25  # three quarters of the square are beyond the corner


def test_rollout_has_every_glimpse_and_stays_on_the_image():
    model, images = tiny_ram(std=2.0), random_images()
    variables = init(model, images)
    rollout = apply(model, variables, images, jax.random.key(1))
    assert rollout.locations.shape == rollout.sampled.shape == (3, 4, 2)
    assert rollout.baselines.shape == (3, 4) and rollout.outputs.shape == (4, 3)
    assert abs(rollout.locations).max() == 1 and abs(rollout.sampled).max() > 1
    np.testing.assert_array_equal(rollout.locations, np.clip(rollout.sampled, -1, 1))
    again = apply(model, variables, images, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, rollout, again)
    other = apply(model, variables, images, jax.random.key(2))
    assert (other.sampled != rollout.sampled).all()


def test_first_glimpse_and_given_locations():
    images = random_images(200)
    variables = init(tiny_ram(first="learned"), images)
    for first, low, high in (("centre", 0, 0), ("learned", 0.01, 0.5), ("random", 0.9, 1)):
        model = tiny_ram(first=first, std=0.1)
        rollout = apply(model, variables, images, jax.random.key(1))
        assert low <= abs(rollout.locations[0]).max() <= high, first
    given = fixed_locations("random", jax.random.key(0), 3, 200)
    rollout = apply(model, variables, images, jax.random.key(1), given)
    np.testing.assert_array_equal(rollout.locations, given)


def test_spread_means_start_apart_and_follow_their_parameter():
    images = random_images(5)
    model = tiny_ram(start="spread", first="centre", glimpses=5, std=1e-6)
    variables = init(model, images)
    rollout = apply(model, variables, images, jax.random.key(1))
    corners = {tuple(point) for point in np.sign(rollout.locations[1:, 0])}
    assert len(corners) == 4 and (abs(rollout.locations[1:]) > 0.3).all()
    moved = jax.tree_util.tree_map_with_path(
        lambda path, array: array + 0.2 * ("starts" in jax.tree_util.keystr(path)), variables
    )
    again = apply(model, moved, images, jax.random.key(1))
    assert (again.locations[1:] > rollout.locations[1:]).all()


def test_spread_points_are_as_far_apart_as_can_be():
    points = spread_points(9)
    assert abs(points).max() == pytest.approx(2 / 3) and not points[0].any()
    assert {tuple(np.sign(point)) for point in points[1:5]} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + 10 * np.eye(9)
    assert distances.min() == pytest.approx(2 / 3)


def test_without_noise_the_policy_looks_at_its_means():
    images = random_images(4)
    model = tiny_ram(first="learned", std=0.3)
    variables = init(model, images)
    rollouts = [
        model.apply(variables, images, jax.random.key(seed), noise_scale=0.0) for seed in (1, 2)
    ]
    np.testing.assert_array_equal(rollouts[0].locations, rollouts[1].locations)
    np.testing.assert_allclose(rollouts[0].sampled, rollouts[0].means)


def test_reconstruction_adds_up_what_each_glimpse_draws():
    model, images = tiny_ram(head="decoder"), random_images()
    variables = init(model, images)
    outputs = apply(model, variables, images, jax.random.key(1)).outputs
    assert outputs.shape == (4, 4, 12, 12, 1)  # before the first glimpse and after each
    assert (outputs[0] == 0.5).all()
    blind = jax.tree.map(jnp.zeros_like, variables["params"]["decoder"])
    variables = {"params": {**variables["params"], "decoder": blind}}
    assert (apply(model, variables, images, jax.random.key(1)).outputs == 0.5).all()


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model, images = tiny_ram(dtype=jnp.bfloat16), random_images()
    variables = init(model, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    rollout = apply(model, variables, images, jax.random.key(0))
    assert {leaf.dtype for leaf in rollout} == {jnp.dtype("float32")}
    assert "bf16" in str(jax.make_jaxpr(model.apply)(variables, images, jax.random.key(0)))


def test_fixed_policies():
    grid = fixed_locations("grid", jax.random.key(0), 9, 2)
    expected = [(x, y) for y in (-2 / 3, 0, 2 / 3) for x in (-2 / 3, 0, 2 / 3)]
    np.testing.assert_allclose(grid[:, 0], expected, atol=1e-6)
    for count in range(1, 13):
        points = grid_points(count)
        assert points.shape == (count, 2) and abs(points).max() < 1
        assert len({tuple(point) for point in points}) == count
    assert (fixed_locations("centre", jax.random.key(0), 4, 2) == 0).all()
    random = fixed_locations("random", jax.random.key(0), 50, 50)
    assert stats.kstest(np.ravel(random), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("square", [0, 1])
def test_fraction_seen_counts_each_pixel_once(square):
    retina, rng = Retina(3, 2, 3), np.random.default_rng(0)
    locations = rng.uniform(-1, 1, (4, 5, 2)).astype(np.float32)
    fractions = fraction_seen(jnp.asarray(locations), retina, 14, 10, square)
    side = retina.sides[square]
    for b in range(5):
        seen = np.zeros((14, 10), bool)
        for t in range(4):
            x, y = np.round((locations[t, b] + 1) / 2 * np.array([10, 14])).astype(int)
            top, left = y - side // 2, x - side // 2
            seen[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
            assert fractions[t, b] == pytest.approx(seen.mean())
