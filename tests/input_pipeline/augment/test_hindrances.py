"""Walls, occlusions and blur: what they change, what they leave, and that no point moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.input_pipeline.augment import hindrances
from jaxvision.tasks import keypoints
from tests.tasks.keypoints.test_keypoints import INFO, batch_of, centroid, spot, tiny

SIDE = 40
KEYS = jax.random.split(jax.random.key(0), 40)


def animal():
    """A dark ellipse on a bright floor of some texture."""
    ys, xs = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    floor = 180 + 20 * np.sin(xs / 3) + 10 * np.cos(ys / 5)
    return np.where((xs / 12) ** 2 + (ys / 6) ** 2 < 1, 20, floor).astype(np.float32)[..., None]


def all_keys(function, amount):
    return np.asarray(
        jax.jit(jax.vmap(lambda key: function(key, jnp.array(animal()), amount)))(KEYS)
    )


@pytest.mark.parametrize("function", [hindrances.wall, hindrances.occlusion])
def test_as_many_pictures_are_changed_as_was_asked_for(function):
    for probability, low, high in ((0.0, 0, 0), (0.5, 10, 30), (1.0, 38, 40)):
        changed = (all_keys(function, probability) != animal()).any((1, 2, 3)).sum()
        assert low <= changed <= high, probability


def test_an_occlusion_is_one_patch_that_may_reach_beyond_the_border():
    changed = np.abs(all_keys(hindrances.occlusion, 1.0) - animal())[..., 0] > 0
    sizes, at_border, over_animal = [], 0, 0
    for mask in changed:
        ys, xs = np.nonzero(mask)
        if len(ys):
            # The diagonal of the largest patch.
            assert max(np.ptp(ys), np.ptp(xs)) <= hindrances.LARGEST * SIDE * np.sqrt(2) + 1
        sizes.append(mask.sum())
        at_border += mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        over_animal += (mask & (animal()[..., 0] == 20)).any()
    assert len(set(sizes)) > 10 and at_border > 5 and over_animal > 5


def test_a_wall_darkens_the_floor_along_the_sides_and_never_the_animal():
    walls = all_keys(hindrances.wall, 1.0)
    image = animal()
    dark = image == image.min()
    assert (walls <= image + 1e-3).all()
    np.testing.assert_allclose(walls[:, dark], image[dark][None].repeat(len(walls), 0))
    darkened = (image - walls)[..., 0] > 20
    middle = slice(SIDE // 2 - 3, SIDE // 2 + 3)
    assert not darkened[:, middle, middle].any()
    edges = (darkened[:, 0], darkened[:, -1], darkened[:, :, 0], darkened[:, :, -1])
    walled = sum(edge.mean(1) > 0.5 for edge in edges)  # sides of each picture
    assert {1, 2} <= set(walled.tolist())


def test_blur_is_long_in_one_direction_and_moves_nothing():
    image = jnp.array(spot(56.4, 64.7), jnp.float32)
    largest, before = 4.0, 6.0  # standard deviations: of the blur, of the spot
    ratios = []
    for key in KEYS[:12]:
        blurred = np.asarray(jax.jit(hindrances.blur, static_argnums=2)(key, image, largest))
        assert blurred.shape == image.shape
        np.testing.assert_allclose(centroid(blurred), centroid(image), atol=0.01)
        ys, xs = np.mgrid[:120, :120]
        weights = blurred[..., 0].clip(0).ravel() / blurred.clip(0).sum()
        spread = np.linalg.eigvalsh(np.cov([xs.ravel(), ys.ravel()], aweights=weights, ddof=0))
        added = np.sqrt(np.maximum(spread - before**2, 0))  # across, along
        assert added[1] <= largest + 0.05 and added[0] <= added[1]
        ratios.append(added[0] / max(added[1], 0.1))
    assert min(ratios) < 0.4 and max(ratios) > 0.7
    flat = jnp.full((9, 12, 3), 77.0)
    np.testing.assert_allclose(hindrances.blur(KEYS[0], flat, 3.0), flat, rtol=1e-5)


def test_points_and_all_else_of_a_batch_are_as_without():
    """And the same key gives the same batch, another one another."""
    batch = batch_of(6)

    @jax.jit
    def plain(key):
        return keypoints.make(tiny(), INFO).model.augment(key, batch)

    @jax.jit
    def hindered(key):
        options = dict(augment__wall=0.5, augment__occlusion=0.5, augment__blur=1.0)
        return keypoints.make(tiny(**options), INFO).model.augment(key, batch)

    key = jax.random.key(3)
    ours, theirs, again = hindered(key), plain(key), hindered(jax.random.key(3))
    for name in ("points", "visible", "scale", "blob", "valid"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert (np.asarray(ours["image"]) != np.asarray(theirs["image"])).any((1, 2, 3)).all()
    np.testing.assert_array_equal(ours["image"], again["image"])
    assert (hindered(jax.random.key(4))["image"] != ours["image"]).any()
    assert ours["image"].min() >= 0 and ours["image"].max() <= 255
