"""Several classes of masks: loss, metrics, answers and files, by the names of classes."""

import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

from jaxvision.config.fields import SEGMENTATION
from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset
from jaxvision.input_pipeline.readers.aerial import geojson
from jaxvision.input_pipeline.readers.aerial.outlines import draw
from jaxvision.serve import answers
from jaxvision.task import Measured
from jaxvision.tasks import segmentation
from jaxvision.tasks.segmentation import class_metrics, labels, predictor, write
from tests.tasks.segmentation.streaming import options_of
from tests.tiny import tiny_config

CLASSES = ("background", "building", "water")
INFO = {"classes": list(CLASSES)}


def batch_of(rows=3, side=32, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.uint8([0, 1, 1, 2, 255]), (rows, side, side))
    return {"image": rng.integers(0, 256, (rows, side, side, 3), np.uint8), "mask": mask}


@pytest.fixture(scope="module")
def unet():
    """(task, variables)"""
    task = segmentation.make(tiny_config(), INFO)
    return task, jax.jit(task.model.init)(jax.random.key(0), batch_of())


def test_metrics_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 3, (2, 4, 10, 12))
    weights = (rng.random(truth.shape) < 0.8).astype(np.float32)
    truth[weights == 0] = 255
    halves = [
        np.asarray(class_metrics.confusion(*map(jnp.asarray, (said[s], truth[s], weights[s])), 3))
        for s in (slice(1), slice(1, 4))
    ]
    counts, keep = sum(halves), weights > 0
    np.testing.assert_array_equal(counts, sk.confusion_matrix(truth[keep], said[keep]))
    values = class_metrics.summarize(counts, CLASSES)
    jaccard = sk.jaccard_score(truth[keep], said[keep], average=None)
    expected = {
        "accuracy": sk.accuracy_score(truth[keep], said[keep]),
        "mean_iou": jaccard.mean(),
        "iou": jaccard[1:].mean(),
        **{f"iou/{name}": value for name, value in zip(CLASSES, jaccard, strict=True)},
    }
    assert values == pytest.approx(expected)
    rows = class_metrics.image_iou(*map(jnp.asarray, (said, truth, weights)), 3)
    for row, a, b, w in zip(rows, said, truth, weights, strict=True):
        own = sk.jaccard_score(b[w > 0], a[w > 0], average=None)
        assert float(row) == pytest.approx(own.mean(), abs=1e-6)


def test_a_class_that_does_not_occur_changes_no_mean():
    counts = np.array([[6, 2, 0], [0, 4, 0], [0, 0, 0]])
    values = class_metrics.summarize(counts, CLASSES)
    assert values["iou/water"] == 1.0 and values["iou"] == pytest.approx(4 / 6)
    assert values["mean_iou"] == pytest.approx((6 / 8 + 4 / 6) / 2)


@pytest.mark.parametrize("name", SEGMENTATION["loss.name"].choices)
def test_validation_loss_is_the_training_criterion_by_its_formula(name):
    task = segmentation.make(tiny_config(loss__name=name), INFO)
    batch = batch_of()
    batch["mask"][0] = 255
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    p = np.asarray(task.model.predict(variables, batch["image"])["probabilities"], np.float64)
    keep = batch["mask"] != 255
    own = np.eye(3)[batch["mask"][keep]]
    p = p[keep]
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    entropy = -np.log((p * own).sum(-1)).mean()
    hits, said, true = (p * own).sum(0), p.sum(0), own.sum(0)
    dice = (1 - (2 * hits + 1) / (said + true + 1)).mean()
    index = (hits + 1) / (hits + 0.7 * (true - hits) + 0.3 * (said - hits) + 1)
    loss = {
        "bce": entropy,
        "bce_dice": entropy + dice,
        "focal_tversky": ((1 - index) ** 0.75).mean(),
    }[name]
    valid = {**batch, "valid": np.ones(3, np.float32)}
    measured = jax.device_get(task.model.metrics(variables, valid, jax.random.key(0)))
    values = task.report.metrics(measured, {})
    assert values["loss"] == pytest.approx(loss, rel=1e-4)
    assert values["cross_entropy"] == pytest.approx(entropy, rel=1e-4)
    assert set(task.report.headline) <= set(values) and 3 <= len(task.report.headline) <= 5


def test_ignored_pixels_get_no_gradient_and_padded_rows_count_nothing(unet):
    task, variables = unet
    batch = batch_of()
    nothing = {**batch, "mask": np.full_like(batch["mask"], 255)}
    extra = {"batch_stats": variables["batch_stats"]}
    loss = jax.jit(jax.grad(lambda p: task.model.loss(p, extra, nothing, jax.random.key(0))[0]))
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(loss(variables["params"])))
    valid = np.array([1, 1, 0], np.float32)
    measured = task.model.metrics(variables, {**batch, "valid": valid}, jax.random.key(0))
    assert measured.sums["confusion"].sum() == (batch["mask"][:2] != 255).sum()


def test_augmentation_makes_no_new_class():
    task = segmentation.make(tiny_config(augment__zoom=0.5), INFO)
    moved = task.model.augment(jax.random.key(0), batch_of(8))["mask"]
    assert set(np.unique(moved)) == {0, 1, 2, 255}


def probabilities(images):
    """A model that looks at one pixel only: which of its colours is the brightest."""
    colours = images.astype(np.float32) + np.float32((0, 0.25, 0.5))
    return colours / colours.sum(-1, keepdims=True)


def picture(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))


def predicted(answer, image):
    prepared = answer.prepare(image)
    return answer.decode({"probabilities": probabilities(prepared.inputs)}, prepared.context, {})


def apply(pictures):
    for key, inputs in pictures:
        yield key, {"probabilities": probabilities(inputs)}


CHOSEN = dict(probability=True, polygons=True, side_by_side=True, tile=128, overlap=32)


def test_answers_in_the_pictures_own_pixels_and_by_name(tmp_path):
    answer = predictor.make(options_of(**CHOSEN), (), labels.of_classes(CLASSES))
    image = picture(150, 200)
    prediction = predicted(answer, image)
    truth = probabilities(image).argmax(-1)
    mask = prediction.arrays["mask"]
    np.testing.assert_array_equal(mask, truth)
    np.testing.assert_allclose(prediction.arrays["probability"], probabilities(image).max(-1))
    shares = {name: float((truth == k).mean()) for k, name in enumerate(CLASSES)}
    assert prediction.record["shares"] == pytest.approx(shares)
    largest = "water" if shares["water"] > shares["building"] else "building"
    told = answer.describe({**prediction.record, "footprints": 3})
    assert told.startswith(f"{largest} {100 * shares[largest]:.1f} %, ")
    assert told.endswith(" of the picture, 3 footprints")
    rendered = answer.render(image, prediction)
    np.testing.assert_array_equal(rendered[mask == 0], image[mask == 0])
    assert (rendered[mask == 2] != image[mask == 2]).any()


def test_writes_what_a_stream_writes(tmp_path):
    of_classes = labels.of_classes(CLASSES)
    answer = predictor.make(options_of(**CHOSEN), (), of_classes)
    image, path = picture(150, 200), tmp_path / "in.png"
    Image.fromarray(image).save(path)
    streamed = answer.stream(apply, path, tmp_path / "streamed", {})
    prediction = predicted(answer, image)
    written = answer.write(image, prediction, path, tmp_path / "written")
    record = {"file": str(path), **prediction.record, **written}
    assert record.keys() == streamed.keys() and record["footprints"] == streamed["footprints"] > 2
    assert record["shares"] == streamed["shares"]
    for kind in ("mask", "probability", "side_by_side"):
        a, b = (Image.open(r[kind]) for r in (record, streamed))
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    mask = Image.open(streamed["mask"])
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), prediction.arrays["mask"])
    np.testing.assert_array_equal(
        np.asarray(mask.convert("RGB")), of_classes.palette[np.asarray(mask)]
    )
    assert Path(record["polygons"]).read_text() == Path(streamed["polygons"]).read_text()
    panels = Image.open(streamed["side_by_side"])
    assert panels.width > 400 and panels.height > 150  # names of classes stand below


def test_footprints_say_their_class_and_are_read_again(tmp_path):
    answer = predictor.make(options_of(tolerance=0.0), (), labels.of_classes(CLASSES))
    prediction = predicted(answer, picture(60, 80))
    collection = json.loads(json.dumps(answer.geojson(prediction, None)))
    named = {f["properties"]["class"]: f["properties"]["fill"] for f in collection["features"]}
    assert named == {"building": "#ff3c00", "water": "#0096ff"}
    read = geojson.read(collection, tmp_path / "a.geojson", CLASSES, "class")
    drawing = geojson.drawing_of(read, tmp_path / "a.png")._replace(height=60, width=80)
    np.testing.assert_array_equal(draw(drawing).mask, prediction.arrays["mask"])


def test_a_row_of_a_table_holds_each_share_and_the_mask():
    answer = predictor.make(options_of(polygons=True), (), labels.of_classes(CLASSES))
    prediction = predicted(answer, picture(60, 80))
    row = answer.row(prediction, None)
    assert row.keys() == answer.columns.keys()
    shares = {name: row[f"share_{name}"] for name in CLASSES}
    assert shares == prediction.record["shares"]
    stored = np.asarray(Image.open(io.BytesIO(row["mask"])))
    np.testing.assert_array_equal(stored, prediction.arrays["mask"])


@pytest.mark.parametrize("count", [3, 14])
def test_a_server_gives_numbers_and_colours(count):
    names = [f"class {k}" for k in range(count)]
    answer = predictor.make(options_of(), (), labels.of_classes(names))
    mask = np.arange(count, dtype=np.uint8).repeat(2).reshape(2, count)
    prediction = predictor.Prediction({}, {"mask": mask})
    assert json.loads(answers.published(prediction)) == {"prediction": mask.tolist()}
    stored = Image.open(io.BytesIO(answers.one(answer, None, prediction, "mask", False).body))
    np.testing.assert_array_equal(np.asarray(stored), mask)
    colours = np.asarray(stored.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) == count


def test_colours_of_masks_are_those_of_answers():
    given = ["#102030", "#405060"]
    of_classes = segmentation.make_labels({"classes": ["a", "b"], "class_colors": given})
    np.testing.assert_array_equal(of_classes.palette, [[16, 32, 48], [64, 80, 96]])


def test_large_pictures_are_streamed_by_their_probabilities(tmp_path, monkeypatch):
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(write, "STREAM_PIXELS", 1000)
    assert not write.streams(tmp_path / "a.png")
    assert predictor.make(options_of(), (), labels.of_classes(CLASSES)).streams(tmp_path / "a.png")


def test_tables_and_figures_name_every_class(unet):
    task, variables = unet
    counts = np.array([[5, 1, 0], [0, 3, 0], [0, 0, 0]])
    tables = task.report.tables(Measured({"confusion": counts}, {}), {})
    assert [row["class"] for row in tables["classes"]] == list(CLASSES)
    assert tables["classes"][2] == {
        "class": "water", "pixels": 0, "precision": None, "recall": None, "iou": None
    }  # fmt: skip
    first = {"truth": "background", "background": 5, "building": 1, "water": 0}
    assert tables["confusion"][0] == first
    figure = task.report.draw(variables, batch_of(), jax.random.key(0), {})["predictions"]
    found = {tuple(colour) for colour in figure.reshape(-1, 3).tolist()}
    assert {(255, 60, 0), (0, 150, 255), (128, 128, 128)} <= found  # the last: does not count


def dataset_of(info):
    return Dataset("data", {}, (), info, "0")


def test_a_model_and_other_data_agree_by_names_or_not_at_all(unet):
    report, binary = unet[0].report, segmentation.make_report(tiny_config(), {})
    swapped = report.adapt(dataset_of({"classes": ["background", "water", "building"]}))
    assert swapped.fingerprint != "0"
    with pytest.raises(UserError, match="has class road, which the model does not know"):
        report.adapt(dataset_of({"classes": ["background", "road"]}))
    with pytest.raises(UserError, match="masks of one kind of object, and the model knows"):
        report.adapt(dataset_of({}))
    with pytest.raises(UserError, match="the model knows one kind of object"):
        binary.adapt(dataset_of(INFO))
