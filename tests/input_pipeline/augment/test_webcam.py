"""What a webcam does to a picture: how far, always alike, and JPEG as libjpeg does it."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision.input_pipeline.augment import webcam
from jaxvision.input_pipeline.augment.jpeg import jpeg

RANDOM = ("dark", "side light", "motion", "turned")


def faces(count=2, size=48, channels=1):
    """Smooth pictures with an edge and some texture, uint8 [count, size, size, channels]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(rng.uniform(3, 12) * (y + rng.uniform(-1, 1) * x)) for _ in range(channels)]
    smooth = 120 + 60 * np.stack(waves, axis=-1) + 40 * (x > 0.6)[..., None]
    noise = rng.normal(0, 4, (count, size, size, channels))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


@functools.cache
def program(name):
    return jax.jit(functools.partial(webcam.corrupt, name, 7))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_libjpegs(channels):
    """But for coefficients between two steps, which its whole-number arithmetic may round up."""
    (picture,) = faces(1, 45, channels)  # no whole number of blocks
    compress = jax.jit(jpeg)
    for quality in (90, 50, 30, 15, 7):
        ours = np.asarray(compress(picture.astype(np.float32), np.float32(quality)))
        file = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(file, "jpeg", quality=quality, subsampling=0)
        theirs = np.asarray(Image.open(file)).reshape(picture.shape)
        off = np.abs(ours - theirs)
        assert off.mean() < 0.5 and (off <= 2).mean() > 0.9, (quality, off.mean(), off.max())
        assert np.abs(ours - picture).mean() > 4 * off.mean()
    assert (ours == ours.round()).all() and ours.min() >= 0 and ours.max() <= 255


@pytest.mark.parametrize("name", webcam.CORRUPTIONS)
def test_a_corruption_grows_with_its_severity_and_knows_its_row(name):
    images, rows = faces(), np.array([3, 4], np.int32)
    at = [np.asarray(program(name)(images, rows, np.float32(s))) for s in (1, 2, 3)]
    assert all(a.dtype == np.uint8 and a.shape == images.shape for a in at)
    off = [np.abs(a.astype(float) - images).mean() for a in at]
    assert 0.5 < off[0] < off[1] < off[2], off
    again = program(name)(images[::-1], rows[::-1], np.float32(3))  # at another place in the batch
    np.testing.assert_array_equal(again, at[2][::-1])
    others = [program(name)(images, rows + i, np.float32(3)) for i in range(1, 9)]
    assert any((other != at[2]).any() for other in others) == (name in RANDOM)


@pytest.mark.parametrize("name", ["side light", "defocus", "motion", "turned"])
def test_without_severity_nothing_changes(name):
    images = faces()
    unchanged = program(name)(images, np.arange(2, dtype=np.int32), np.float32(0))
    np.testing.assert_allclose(unchanged, images, atol=1)


def test_blur_keeps_light_and_spreads_it_as_far_as_said():
    point = np.zeros((1, 48, 48, 1), np.uint8)
    point[0, 24, 24] = 255
    even = np.full_like(point, 90)
    y, x = np.mgrid[:48, :48] - 24
    # Of a disk of radius r the variance is r^2 / 2 over both axes, of a line L^2 / 12.
    for name, expected in (("defocus", 2.25**2 / 2), ("motion", 9**2 / 12)):
        blurred = jax.jit(webcam.CORRUPTIONS[name])
        spread = np.asarray(blurred(jax.random.key(1), point[0].astype(np.float32), 3.0))[..., 0]
        assert spread.sum() == pytest.approx(255, rel=1e-3)
        assert spread.max() == pytest.approx(spread[24, 24], rel=1e-3)
        variance = (spread * (y**2 + x**2)).sum() / 255
        assert variance == pytest.approx(expected, rel=0.2)
        unchanged = blurred(jax.random.key(1), even[0].astype(np.float32), 3.0)
        np.testing.assert_allclose(unchanged, 90, atol=0.01)


def test_dark_is_as_dark_as_said_and_noisier_than_the_light():
    gray = jnp.full((64, 64, 1), 200.0)
    values = np.asarray(jax.jit(webcam.dark)(jax.random.key(0), gray, 2.0))
    assert values.mean() == pytest.approx(200 * 2 ** (-3 / 2.2), rel=0.03)
    assert 1 < values.std() < 8


def test_a_turned_picture_is_seen_in_perspective():
    """Two marks, moved by the projection of a plane that turns about its upright axis."""
    size, d = 65, webcam.DISTANCE
    middle, half = 32, 32.5
    angle = np.deg2rad(30)
    image = np.zeros((size, size, 1), np.float32)
    marks = [(32, 12), (16, 50)]
    for mark in marks:
        image[mark] = 255
    image = webcam._blur(image, lambda y, x: jnp.exp(-(y**2 + x**2) / 4), 0.1)  # to find it by
    seen = set()
    for i in range(8):
        turned = np.asarray(jax.jit(webcam.turned)(jax.random.key(i), image, 2.0))[..., 0]
        for sign in (-1, 1):
            fits = []
            for y, x in marks:
                u, v = (x - middle) / half, (y - middle) / half
                near = d / (d + u * np.sin(sign * angle))
                at = middle + half * v * near, middle + half * u * np.cos(angle) * near
                window = turned[round(at[0]) - 6 : round(at[0]) + 7]
                window = window[:, round(at[1]) - 6 : round(at[1]) + 7]
                ys, xs = np.mgrid[: window.shape[0], : window.shape[1]]
                centre = [(window * grid).sum() / window.sum() - 6 for grid in (ys, xs)]
                off = np.hypot(centre[0] + round(at[0]) - at[0], centre[1] + round(at[1]) - at[1])
                fits.append(window.sum() > 1 and off < 0.5)
            if all(fits):
                seen.add(sign)
    assert seen == {-1, 1}


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_training_pictures_are_corrupted_as_often_as_asked(probability):
    image = faces(1)[0].astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 60)
    corrupt = jax.jit(jax.vmap(lambda k: webcam.random_corruption(k, image, probability)))
    changed = np.asarray(corrupt(keys))
    off = np.abs(changed - image).mean(axis=(1, 2, 3))
    assert changed.min() >= 0 and changed.max() <= 255
    assert abs((off > 0).mean() - probability) < 0.15
    if probability == 1:
        assert off.std() > 3  # of every strength
