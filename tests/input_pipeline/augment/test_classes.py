"""Augmentation of pictures with a class: what moves, what mixes, and by how much."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.input_pipeline.augment import classes as augment
from jaxvision.input_pipeline.augment.sampling import bilinear

KEYS = jax.random.split(jax.random.key(0), 40)


def many(function):
    """function(key) for many keys, compiled as one."""
    return jax.jit(jax.vmap(function))


def picture(size=16, channels=1):
    image = np.random.default_rng(0).integers(0, 256, (size, size, channels))
    return jnp.asarray(image, jnp.float32)


def test_nothing_asked_for_changes_nothing():
    image = picture()

    @jax.jit
    def untouched(key):
        moved = augment.affine(key, image, 16, rotate=0, zoom=0, shift=0, flip=False)
        toned = augment.tone_jitter(key, image, 0, 0, 0)
        images, share = augment.mix(key, image[None], 0, 0)
        return moved, toned, augment.random_erase(key, image, 0.0), images[0], share

    *results, share = untouched(KEYS[0])
    for result in results:
        np.testing.assert_allclose(result, image, atol=1e-3)
    assert share == 1


def test_flips_are_exact_and_crops_are_windows_at_every_place():
    image = picture()
    flips = many(lambda k: augment.affine(k, image, 16, 0, 0, 0, True))(KEYS)
    mirrored = [np.allclose(f, image[:, ::-1], atol=1e-3) for f in flips]
    same = [np.allclose(f, image, atol=1e-3) for f in flips]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 8 < sum(mirrored) < 32
    windows = many(lambda k: augment.affine(k, image, 14, 0, 0, 0, False))(KEYS)
    places = set()
    for window in np.asarray(windows):
        hits = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.allclose(window, image[y : y + 14, x : x + 14], atol=1e-3)
        ]
        assert len(hits) == 1
        places.add(hits[0])
    assert len(places) == 9


def test_a_quarter_turn_is_a_quarter_turn():
    """Rotation by a known angle: the grid's direction and centre, against numpy."""
    image = picture()
    at = jnp.arange(16) - 7.5
    rows, columns = jnp.meshgrid(at, at, indexing="ij")
    turned = jax.jit(bilinear)(image, -columns + 7.5, rows + 7.5)
    np.testing.assert_allclose(turned, np.rot90(image, -1), atol=1e-3)


def test_rotation_zoom_and_shift_move_a_mark_within_their_bounds():
    image = jnp.zeros((33, 33, 1)).at[16, 16].set(255.0)  # the centre stays under rotation and zoom
    turned = many(lambda k: augment.affine(k, image, 33, 45, 0.3, 0, False))(KEYS)
    assert all(np.unravel_index(t.argmax(), t.shape)[:2] == (16, 16) for t in np.asarray(turned))
    shifted = many(lambda k: augment.affine(k, image, 33, 0, 0, 0.2, False))(KEYS)
    places = np.array([np.unravel_index(s.argmax(), s.shape)[:2] for s in np.asarray(shifted)])
    assert abs(places - 16).max() <= 7 and abs(places - 16).max() > 3


@pytest.mark.parametrize("channels", [1, 3])
def test_tones_stay_in_range(channels):
    image = picture(channels=channels)
    changed = jax.jit(augment.tone_jitter)(KEYS[0], image, 0.5, 0.5, 0.5)
    assert changed.shape == image.shape and changed.min() >= 0 and changed.max() <= 255
    assert abs(changed - image).max() > 5


def test_erasing_touches_one_rectangle_as_often_as_asked():
    image = jnp.full((32, 32, 1), -1.0)
    erased = np.asarray(many(lambda k: augment.random_erase(k, image, 0.5))(KEYS))
    shares = (erased != -1).mean(axis=(1, 2, 3))
    assert 8 < (shares > 0).sum() < 32 and shares.max() <= 0.34
    for one in erased[shares > 0]:
        hole = one[..., 0] != -1
        ys, xs = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].all()


@pytest.mark.parametrize("mixup, cutmix", [(0.4, 0), (0, 1.0), (0.4, 1.0)])
def test_shares_tell_what_the_pictures_are_made_of(mixup, cutmix):
    """Picture i is i everywhere, so the mean of a blend tells its share."""
    images = jnp.broadcast_to(jnp.arange(16.0)[:, None, None, None], (16, 32, 32, 1))
    mix = jax.jit(augment.mix, static_argnums=(2, 3))
    mixed, share = mix(jax.random.key(3), images, mixup, cutmix)
    own, other = np.arange(16), np.roll(np.arange(16), -1)
    expected = share * own + (1 - share) * other
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), expected, atol=1e-3)
    assert share.min() >= 0 and share.max() <= 1 and np.std(share) > 0.05
    values = [len(np.unique(m.round(4))) for m in np.asarray(mixed)]
    if not cutmix:
        assert max(values) == 1  # mixup: one even blend
    elif not mixup:
        assert all(np.isin(m, (a, b)).all() for m, a, b in zip(mixed, own, other, strict=True))
    else:
        assert 1 in values and 2 in values
