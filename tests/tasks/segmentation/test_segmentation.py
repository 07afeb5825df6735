"""Metrics against scikit-learn, losses against their formulas, augmentation of image and mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from jaxvision import losses
from jaxvision.errors import UserError
from jaxvision.input_pipeline.augment import photos as augment
from jaxvision.task import Measured
from jaxvision.tasks import segmentation
from jaxvision.tasks.segmentation import metrics
from jaxvision.tasks.segmentation.criterion import LOSSES
from tests.tiny import tiny_config


def random_masks(seed=0, shape=(3, 20, 24)):
    rng = np.random.default_rng(seed)
    labels = (rng.random(shape) < 0.3).astype(np.float32)
    probability = np.clip(0.4 * labels + 0.6 * rng.random(shape), 0, 1).astype(np.float32)
    weights = (rng.random(shape) < 0.8).astype(np.float32)
    return probability, labels, weights


def sums_of(probability, labels, weights, radius=2):
    sums = metrics.segmentation_sums(*map(jnp.asarray, (probability, labels, weights)), radius)
    return jax.tree.map(np.asarray, sums)


@pytest.mark.parametrize("threshold", [0.5, 0.37, 0.9])
def test_pixel_metrics_equal_scikit_learn(threshold):
    probability, labels, weights = random_masks()
    # Two batches added up: sums over the split, not means of batches.
    halves = [sums_of(probability[s], labels[s], weights[s]) for s in (slice(1), slice(1, 3))]
    ours = metrics.segmentation_metrics(jax.tree.map(np.add, *halves), threshold)
    keep = weights > 0
    truth, predicted = labels[keep] == 1, probability[keep] >= threshold
    jaccard = sk.jaccard_score(truth, predicted, average=None)
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "precision": sk.precision_score(truth, predicted),
        "recall": sk.recall_score(truth, predicted),
        "iou": jaccard[1],
        "mean_iou": jaccard.mean(),
    }
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_boundary_iou_equals_its_definition():
    probability, labels, weights = random_masks(1, (2, 16, 16))
    weights[:] = 1
    weights[:, :, 12:] = 0
    threshold, radius = 0.5, 1
    common = either = 0

    def boundary(mask):
        kept = mask.copy()
        for y in range(16):
            for x in range(12):
                window = mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : min(x + 2, 12)]
                kept[y, x] = mask[y, x] and not window.all()
        return kept[:, :12]

    for p, truth in zip(probability, labels, strict=True):
        a, b = boundary(p >= threshold), boundary(truth == 1)
        common, either = common + (a & b).sum(), either + (a | b).sum()
    ours = metrics.segmentation_metrics(sums_of(probability, labels, weights, radius), threshold)
    assert ours["boundary_iou"] == pytest.approx(common / either, abs=1e-9)


def test_best_threshold_has_the_highest_iou():
    sums = sums_of(*random_masks())
    best = metrics.best_threshold(sums)
    ious = [metrics.segmentation_metrics(sums, k / 100)["iou"] for k in range(1, 100)]
    assert metrics.segmentation_metrics(sums, best)["iou"] == max(ious)


def test_pixels_are_counted_as_integers():
    ones = jnp.ones((1, 5000, 5000))
    assert int(metrics.histogram(ones, ones).sum()) == 25_000_000  # float32 would stop at 2**24


def test_padded_rows_and_ignored_pixels_count_nothing():
    model = segmentation.make(tiny_config(), {}).model
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 255, (3, 32, 32, 3), np.uint8),
        "mask": rng.integers(0, 2, (3, 32, 32), np.uint8),
    }
    batch["mask"][1, :, 20:] = 255
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    valid = np.array([1, 1, 0], np.float32)
    sums = model.metrics(variables, {**batch, "valid": valid}, jax.random.key(0)).sums
    counted = int(sums["building"].sum() + sums["background"].sum())
    assert counted == 32 * 32 + 32 * 20
    changed = {**batch, "mask": batch["mask"].copy(), "valid": valid}
    changed["mask"][2] = 1
    again = model.metrics(variables, changed, jax.random.key(0)).sums
    jax.tree.map(np.testing.assert_array_equal, sums, again)


def test_losses_follow_their_formulas():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 8, 8)), (rng.random((2, 8, 8)) < 0.4).astype(float)
    weights = (rng.random((2, 8, 8)) < 0.7).astype(float)
    p = 1 / (1 + np.exp(-logits))
    keep = weights > 0
    assert losses.binary_cross_entropy(logits, labels, weights) == pytest.approx(
        sk.log_loss(labels[keep], p[keep]), rel=1e-5
    )
    overlap = (p * labels)[keep].sum()
    dice = 1 - (2 * overlap + 1) / (p[keep].sum() + labels[keep].sum() + 1)
    assert losses.soft_dice(logits, labels, weights) == pytest.approx(dice, rel=1e-5)
    missed, false = ((1 - p) * labels)[keep].sum(), (p * (1 - labels))[keep].sum()
    tversky = (1 - (overlap + 1) / (overlap + 0.7 * missed + 0.3 * false + 1)) ** 0.75
    ours = losses.focal_tversky(logits, labels, weights, 0.7, 0.75)
    assert ours == pytest.approx(tversky, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_validation_loss_is_the_training_criterion_of_the_valid_rows(name):
    """Equal to the criterion on the logits of those rows alone, weighted by their number."""
    config = tiny_config(loss__name=name)
    task = segmentation.make(config, {})
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 255, (4, 32, 32, 3), np.uint8),
        "mask": rng.choice(np.uint8([0, 1, 255]), (4, 32, 32)),
    }
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    expected, total, metrics_of = 0.0, None, jax.jit(task.model.metrics)
    outputs = jax.jit(task.model.predict)(variables, batch["image"])
    logits = jax.scipy.special.logit(outputs["probability"])
    for rows, valid in ((slice(0, 3), [1, 1, 1]), (slice(2, 4), [0, 1])):
        part = {key: value[rows] for key, value in batch.items()}
        keep = np.array(valid) == 1
        mask, own = part["mask"][keep], logits[rows][keep]
        weights, labels = (mask != 255).astype(float), (mask == 1).astype(float)
        if name == "focal_tversky":
            loss = losses.focal_tversky(own, labels, weights, 0.7, 0.75)
        else:
            loss = losses.binary_cross_entropy(own, labels, weights)
            loss += losses.soft_dice(own, labels, weights) if name == "bce_dice" else 0
        expected += float(loss) * keep.sum() / 4
        part["valid"] = np.float32(valid)
        measured = metrics_of(variables, part, jax.random.key(0))
        sums = jax.device_get(measured.sums)
        total = jax.tree.map(np.add, total, sums) if total else sums
    values = task.report.metrics(Measured(total, {}), {})
    assert values["loss"] == pytest.approx(expected, rel=1e-5) and expected > 0.1
    assert "loss" in task.report.headline and set(task.report.headline) <= set(values)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_get_no_gradient(name):
    config = tiny_config(loss__name=name)
    model = segmentation.make(config, {}).model
    rng = np.random.default_rng(0)
    batch = {"image": rng.random((2, 32, 32, 3)) * 255, "mask": np.full((2, 32, 32), 255.0)}
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    extra = {"batch_stats": variables["batch_stats"]}
    judge = jax.jit(jax.grad(lambda p: model.loss(p, extra, batch, jax.random.key(0))[0]))
    gradient = judge(variables["params"])
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))


def marked(size=48):
    """An image that is its mask in gray, smooth enough to survive interpolation."""
    y, x = np.mgrid[:size, :size]
    mask = ((y - 15) ** 2 + (x - 28) ** 2 < 100) | ((abs(y - 36) < 6) & (abs(x - 10) < 8))
    return np.repeat(mask[..., None], 3, -1).astype(np.uint8) * 255, mask.astype(np.uint8)


@pytest.mark.parametrize("zoom", [0.0, 0.4])
def test_mask_moves_with_the_image(zoom):
    image, mask = marked()
    seen = set()
    for i in range(24):
        moved, moved_mask = augment.crop_zoom_flip(
            jax.random.key(i), image, mask, 32, zoom, True, True
        )
        assert moved.shape == (32, 32, 3) and moved_mask.shape == (32, 32)
        # Interpolated edges of the image lie around the nearest-pixel edge of the mask.
        assert np.mean((moved[..., 0] > 127.5) != (moved_mask == 1)) < 0.02
        if zoom == 0:
            np.testing.assert_array_equal(moved[..., 0] / 255, moved_mask)
        seen.add(np.asarray(moved_mask).tobytes())
    assert len(seen) > 20


def test_all_eight_symmetries_occur():
    image, mask = marked(32)
    keys = jax.random.split(jax.random.key(0), 100)
    moved = {
        np.asarray(augment.crop_zoom_flip(k, image, mask, 32, 0.0, True, True)[1]).tobytes()
        for k in keys
    }
    expected = {
        np.rot90(m, k).astype(np.float32).tobytes() for m in (mask, mask.T) for k in range(4)
    }
    assert moved == expected


def test_colour_jitter_keeps_range_and_grays():
    image, _ = marked()
    jittered = augment.colour_jitter(jax.random.key(0), image.astype(np.float32), 0.3, 0.3, 0.3)
    assert jittered.min() >= 0 and jittered.max() <= 255
    np.testing.assert_allclose(jittered[..., 0], jittered[..., 2], atol=1e-3)
    same = augment.colour_jitter(jax.random.key(0), image.astype(np.float32), 0, 0, 0)
    np.testing.assert_allclose(same, image, atol=1e-3)


def test_evaluation_does_not_augment(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("augmentation in evaluation")

    config = tiny_config()
    monkeypatch.setattr(augment, "crop_zoom_flip", forbidden)
    monkeypatch.setattr(augment, "colour_jitter", forbidden)
    task = segmentation.make(config, {})
    model = task.model
    batch = {
        "image": np.zeros((1, 32, 32, 3), np.uint8),
        "mask": np.zeros((1, 32, 32), np.uint8),
        "valid": np.ones(1, np.float32),
    }
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    key = jax.random.key(0)
    model.metrics(variables, batch, key)
    task.report.draw(variables, batch, key, {})
    model.predict(variables, batch["image"])
    with pytest.raises(AssertionError, match="augmentation in evaluation"):
        model.augment(key, batch)


@pytest.mark.parametrize("size", [(32, 32), (50, 70), (33, 31), (5, 9)])
def test_any_image_size(size):
    model = segmentation.make(tiny_config(), {}).model
    images = np.random.default_rng(0).integers(0, 255, (1, *size, 3), np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), {"image": images})
    probability = jax.jit(model.predict)(variables, images)["probability"]
    assert probability.shape == (1, *size) and np.isfinite(probability).all()


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model = segmentation.make(tiny_config(train__dtype="bfloat16"), {}).model
    images = np.zeros((1, 32, 32, 3), np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), {"image": images})
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    assert "bf16" in str(jax.make_jaxpr(model.predict)(variables, images))
    assert model.predict(variables, images)["probability"].dtype == jnp.float32


def test_a_too_large_crop_is_named():
    model = segmentation.make(tiny_config(data__crop_size=64), {}).model
    batch = {"image": np.zeros((1, 32, 32, 3), np.uint8), "mask": np.zeros((1, 32, 32), np.uint8)}
    with pytest.raises(UserError, match="crop_size=64 is larger than the tiles of 32"):
        model.augment(jax.random.key(0), batch)
