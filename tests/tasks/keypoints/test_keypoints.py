"""Points move with pixels, unknown ones count nowhere, angles and errors are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import rat
from jaxvision.errors import UserError
from jaxvision.input_pipeline.augment import points as augment_points
from jaxvision.models import keypoints as models
from jaxvision.tasks import keypoints
from jaxvision.tasks.keypoints import heading
from jaxvision.tasks.keypoints import metrics as metrics_keypoints
from jaxvision.tasks.keypoints.model import MODELS

NONE = dict(rotate90=False, flip=False, rotation=0.0, scale=0.0, shift=0.0)
NAMES = ("head", "neck", "base")
INFO = {
    "keypoints": NAMES,
    "image": [32, 32, 1],
    "animal": "dark",
    "crop_size": 0,
    "mean_points": [[10.0, 10.0]] * 3,
    "blob_points": [[8.0, 0.0], [5.0, 0.0], [-8.0, 1.0]],
    "blob_length": 16.0,
}


def tiny(**overrides):
    config = rat.get_config()
    config.model.widths = (4, 4, 6)
    for name, value in overrides.items():
        section, field = name.split("__")
        config[section][field] = value
    return config


def batch_of(count=3, side=32, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 255, (count, side, side, 1), np.uint8),
        "points": rng.uniform(4, side - 4, (count, 3, 2)).astype(np.float32),
        "visible": np.ones((count, 3), np.float32),
        "scale": np.ones(count, np.float32),
        "blob": np.tile(np.float32([15, 15, 1, 0]), (count, 1)),
        "valid": np.ones(count, np.float32),
    }


def spot(x, y, side=120):
    """A picture that is 0 but for a spot at (x, y), so smooth that bilinear sampling keeps it."""
    ys, xs = np.mgrid[:side, :side]
    return (200 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 6.0**2)))[..., None]


def centroid(image):
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = np.asarray(image[..., 0], np.float64)
    return np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()


@pytest.mark.parametrize(
    "motion",
    [
        dict(NONE, rotate90=True, flip=True),
        dict(NONE, rotation=180.0),
        dict(NONE, scale=0.3),
        dict(NONE, shift=6.0),
        dict(rotate90=True, flip=True, rotation=30.0, scale=0.2, shift=4.0),
    ],
)
def test_points_move_with_pixels_to_a_hundredth_of_a_pixel(motion):
    point = np.array([[56.4, 64.7]], np.float32)
    image, ones = spot(*point[0]), np.ones(1, np.float32)

    @jax.jit
    def move(key):
        drawn = augment_points.random_motion(key, 120, 120, **motion)
        moved = augment_points.move_image(image, drawn)
        return moved, *augment_points.move_points(point, ones, drawn, [0], 120, 120)

    seen = []
    for i in range(12):
        moved, points, visible = move(jax.random.key(i))
        np.testing.assert_allclose(points[0], centroid(moved), atol=0.01)
        assert visible[0] == 1
        seen.append(np.asarray(points[0]))
    assert np.ptp(seen, axis=0).max() > 1


def test_turns_and_flips_keep_every_pixel_and_all_eight_occur():
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 1)).astype(np.float32)
    motion = jax.jit(
        lambda key: augment_points.move_image(
            image,
            augment_points.random_motion(key, 9, 9, **dict(NONE, rotate90=True, flip=True)),
        )
    )
    seen = {np.asarray(motion(jax.random.key(i))).round(3).tobytes() for i in range(80)}
    expected = {
        np.rot90(m, k).astype(np.float32).tobytes()
        for m in (image, image.swapaxes(0, 1))
        for k in range(4)
    }
    assert seen == expected


def test_left_and_right_change_places_under_a_flip_alone():
    names = ("snout", "left_ear", "right_ear", "tail_l", "tail_r", "paw_l")
    swap = heading.mirror_order(names)
    assert swap == [0, 2, 1, 4, 3, 5]
    points = np.array([[1, 2], [3, 4], [5, 6], [7, 8], [9, 1], [2, 2]], np.float32)
    visible = np.array([1, 0, 1, 1, 1, 1], np.float32)
    for i in range(12):
        motion = augment_points.random_motion(jax.random.key(i), 11, 11, **dict(NONE, flip=True))
        moved, seen = augment_points.move_points(points, visible, motion, swap, 11, 11)
        order = swap if motion.mirrored else range(6)
        expected = points[order] * [-1 if motion.mirrored else 1, 1]
        np.testing.assert_allclose(moved, expected + [10 if motion.mirrored else 0, 0], atol=1e-5)
        np.testing.assert_array_equal(seen, visible[order])


def test_what_leaves_the_picture_is_not_visible():
    points = np.array([[0.0, 5.0], [5.0, 5.0]], np.float32)
    for i in range(20):
        motion = augment_points.random_motion(jax.random.key(i), 11, 11, **dict(NONE, shift=4.0))
        moved, seen = augment_points.move_points(points, np.ones(2), motion, [0, 1], 11, 11)
        inside = ((moved >= -0.5) & (moved <= 10.5)).all(-1)
        np.testing.assert_array_equal(seen, inside)


def test_angles_are_counter_clockwise_as_seen_in_the_picture():
    angles = heading.find_angles(NAMES, rat.get_config().heading)
    assert [angle.name for angle in angles] == ["heading", "head_direction"]
    up = np.array([[25.0, 5.0], [20.0, 10.0], [20.0, 40.0]])  # head, neck, base; y counts down
    np.testing.assert_allclose(heading.angles_of(up, angles), [90.0, 45.0], atol=1e-4)
    left = np.array([[5.0, 20.0], [10.0, 20.0], [40.0, 20.0]])
    np.testing.assert_allclose(np.abs(heading.angles_of(left, angles)), 180.0, atol=1e-4)
    differences = heading.difference(
        np.array([179.0, -179.0, 10.0]), np.array([-179.0, 179.0, 5.0])
    )
    np.testing.assert_allclose(differences, [-2, 2, 5])


def test_places_are_found_by_their_usual_names():
    options = rat.get_config().heading
    dlc = ("snout", "leftear", "rightear", "tailbase")
    body, head = heading.find_angles(dlc, options)
    assert (body.start, body.end) == ((3,), (1, 2)) and (head.start, head.end) == ((1, 2), (0,))
    points = np.array([[30.0, 10.0], [20.0, 8.0], [20.0, 12.0], [0.0, 10.0]])
    np.testing.assert_allclose(heading.angles_of(points, (body, head)), [0, 0], atol=1e-4)
    assert heading.find_angles(("left_paw", "right_paw"), options) == ()
    options.neck = ("withers",)
    with pytest.raises(UserError, match="heading.neck: there is no point 'withers', but snout"):
        heading.find_angles(dlc, options)


def test_errors_and_their_summary_equal_numpy():
    batch = batch_of(6)
    batch["visible"][2, 1] = 0
    batch["scale"][3] = 4.0
    predictions = batch["points"] + np.random.default_rng(1).normal(0, 2, (6, 3, 2)).astype(
        np.float32
    )
    angles = heading.find_angles(NAMES, rat.get_config().heading)
    rows = metrics_keypoints.row_errors(jnp.asarray(predictions), batch, angles)
    rows = jax.tree.map(np.asarray, rows)
    pixels = np.linalg.norm(predictions - batch["points"], axis=-1) * batch["scale"][:, None]
    pixels[2, 1] = np.nan
    np.testing.assert_allclose(rows["pixels"], pixels, rtol=1e-5)
    assert np.isnan(rows["degrees"][2]).all() and np.isfinite(rows["degrees"][3]).all()

    def complex_angle(p, a, b):
        return (p[:, b, 0] - p[:, a, 0]) - 1j * (p[:, b, 1] - p[:, a, 1])

    turned = complex_angle(predictions, 2, 1) / complex_angle(batch["points"], 2, 1)
    expected = np.abs(np.angle(turned, deg=True))
    np.testing.assert_allclose(rows["degrees"][[0, 1, 3, 4, 5], 0], expected[[0, 1, 3, 4, 5]],
                               atol=1e-3)  # fmt: skip
    full = {**rows, **{f"{b}_{w}": rows[w] for b in ("mean_position", "image_moments")
                       for w in ("pixels", "degrees")}}  # fmt: skip
    values = metrics_keypoints.summarize(full, NAMES, angles)
    assert values["mean_pixel_error"] == pytest.approx(np.nanmean(pixels), rel=1e-5)
    assert values["median_pixel_error_neck"] == pytest.approx(np.nanmedian(pixels[:, 1]), rel=1e-5)
    assert values["pck_2"] == pytest.approx(np.mean(pixels[np.isfinite(pixels)] <= 2))
    known = rows["degrees"][:, 0][np.isfinite(rows["degrees"][:, 0])]
    assert values["heading_error_degrees_p90"] == pytest.approx(np.percentile(known, 90), rel=1e-5)


def test_baselines_sit_where_training_animals_do():
    blobs = np.array([[10.0, 20.0, 0.0, 1.0]])  # its axis points down
    mean, moments = metrics_keypoints.baseline_points(INFO, blobs)
    np.testing.assert_allclose(mean[0], INFO["mean_points"])
    np.testing.assert_allclose(moments[0], [[10, 28], [10, 25], [9, 12]], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_points_give_no_gradient_and_no_error(name):
    task = keypoints.make(tiny(model__name=name), INFO)
    batch = batch_of()
    batch["visible"][:, 1] = 0
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    extra = {"batch_stats": variables["batch_stats"]}

    @jax.jit
    def gradients(params, points, visible):
        def loss(params, points):
            changed = {**batch, "points": points, "visible": visible}
            return task.model.loss(params, extra, changed, jax.random.key(0))[0]

        return jax.grad(loss, argnums=(0, 1))(params, points)

    params = variables["params"]
    at_points = gradients(params, batch["points"], batch["visible"])[1]
    assert (np.asarray(at_points[:, 1]) == 0).all() and np.abs(at_points[:, 0]).min() > 0
    at_params = gradients(params, batch["points"], np.zeros((3, 3), np.float32))[0]
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(at_params))
    measured = jax.jit(task.model.metrics)(variables, batch, jax.random.key(0))
    values = task.report.metrics(measured, task.report.fit(measured))
    assert np.isnan(values["mean_pixel_error_neck"]) and np.isfinite(values["mean_pixel_error"])
    assert np.isnan(values["heading_error_degrees"])  # it needs the neck


def test_heatmaps_tell_positions_between_cells_and_choose_one_of_two_peaks():
    point = np.array([[[20.3, 11.8]]], np.float32)
    single = models.gaussian_targets(point, 16, 16, 1.5)
    found, spread = models.soft_argmax(single)
    np.testing.assert_allclose(found, point, atol=0.05)
    np.testing.assert_allclose(spread, 1.5 * np.sqrt(2), rtol=0.05)
    np.testing.assert_allclose(models.peak_position(single, 3), point, atol=0.05)
    other = models.gaussian_targets(np.array([[[6.0, 24.0]]], np.float32), 16, 16, 1.5)
    both = 0.6 * single + 0.4 * other
    np.testing.assert_allclose(models.peak_position(both, 3), point, atol=0.05)
    assert models.soft_argmax(both)[1][0, 0] > 5  # and the doubt shows


@pytest.mark.parametrize("size", [(31, 45), (8, 9)])
def test_any_picture_size(size):
    task = keypoints.make(tiny(), INFO)
    images = np.random.default_rng(0).integers(0, 255, (2, *size, 1), np.uint8)
    variables = jax.jit(task.model.init)(jax.random.key(0), {"image": images})
    outputs = jax.jit(task.model.predict)(variables, images)
    assert outputs["points"].shape == (2, 3, 2)
    assert (np.asarray(outputs["points"]) >= 0).all()
    assert (np.asarray(outputs["points"]) <= np.array(size[::-1]) + 0.5).all()


def test_bfloat16_locates_in_float32():
    config = tiny(train__dtype="bfloat16")
    task = keypoints.make(config, INFO)
    images = batch_of()["image"]
    variables = jax.eval_shape(task.model.init, jax.random.key(0), {"image": images})
    assert "bf16" in str(jax.make_jaxpr(task.model.predict)(variables, images))
    shapes = jax.eval_shape(task.model.predict, variables, images)
    assert shapes["points"].dtype == jnp.float32
