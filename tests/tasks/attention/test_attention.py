"""Recurrent attention from end to end: data to figures, and what its metrics say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from configs import ram
from jaxvision import console, evaluate, predict, train
from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import Dataset, Split
from jaxvision.models.retina import Retina
from jaxvision.task import Measured
from jaxvision.tasks import attention
from jaxvision.tasks.attention import canvas, figures
from jaxvision.tasks.attention import metrics as metrics_attention
from jaxvision.tasks.attention.glimpses import FIXED
from tests.input_pipeline.readers.test_small_images import write_mnist
from tests.test_main import main
from tests.tiny_ram import ram_config

ROOT = Path(__file__).parents[3]
INFO = {"shape": [12, 12, 1], "classes": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """(config, workdir) of a tiny run on the built-in digits, every second step kept."""
    folder = tmp_path_factory.mktemp("run")
    config = ram_config(
        canvas__size=16,
        train__steps=8,
        checkpoint__every_steps=4,
        checkpoint__keep_every_steps=4,
        eval__every_epochs=1.0,
        loss__normalize_rewards=True,
    )
    train.train(config, str(folder))
    return config, folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """(config, workdir) of a tiny run on cluttered random images in MNIST's files."""
    folder = tmp_path_factory.mktemp("run")
    data = tmp_path_factory.mktemp("mnist")
    write_mnist(data)
    config = ram_config(
        "cluttered60",
        data__path=str(data),
        canvas__size=20,
        canvas__clutter_size=4,
        train__steps=4,
    )
    train.train(config, str(folder))
    return config, folder


def evaluation(folder):
    return json.loads((Path(folder) / "evaluation.json").read_text())


def test_autoencoder_leaves_metrics_and_figures(autoencoder):
    config, folder = autoencoder
    result = evaluation(folder)
    metrics = result["metrics"]
    assert result["split"] == "test" and result["examples"] == 13
    assert {"mse", "psnr", "gain_over_random", "beats_random", "seen", "seen_sharp"} <= set(metrics)
    for policy in ("own", *FIXED):
        assert len([name for name in metrics if name.startswith(f"psnr/{policy}/")]) == 4
    assert metrics["mse/own/3"] == pytest.approx(metrics["mse"])
    assert metrics["psnr_grid"] == pytest.approx(metrics["psnr/grid/3"])
    assert 0 < metrics["seen_sharp"] <= metrics["seen"] < 1
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"glimpses_8.png", "rollout_8.gif", "where_it_looks_8.png"} <= names
    assert {"psnr_by_glimpse_8.png", "test_where_it_looks_8.png"} <= names


def test_a_line_of_the_console_shows_what_matters(autoencoder, capsys):
    config, folder = autoencoder
    evaluate.evaluate_workdir(config, str(folder), "val")
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("val:")]
    assert line.startswith("val: psnr ") and "gain_over_random" in line and "/" not in line
    assert console.table({"psnr": 20.0, "mse": 1e-3}, ("mse",)) == "mse 0.001"


def test_a_kept_step_is_drawn_again(autoencoder):
    config, folder = autoencoder
    evaluate.evaluate_workdir(config, str(folder), "val", step=4)
    assert evaluation(folder)["step"] == 4
    figures = folder / "figures"
    assert (figures / "val_glimpses_4.png").exists() and (figures / "val_rollout_4.gif").exists()
    with Image.open(figures / "val_rollout_4.gif") as film:
        assert film.n_frames == 3 and film.info["loop"] == 0


def test_autoencoder_on_photos(autoencoder, tmp_path):
    config, folder = autoencoder
    photos, output = tmp_path / "photos", tmp_path / "seen"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    (photos / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 of 2 files could not be read: b.jpg"):
        predict.predict_files(config, str(folder), str(photos), str(output))
    record = json.loads((output / "predictions.jsonl").read_text().splitlines()[0])
    assert np.shape(record["locations"]) == (3, 2) and len(record["psnr"]) == 4
    assert Image.open(output / "a_reconstruction.png").size == (16, 16)
    assert {"a_glimpses.png", "a.gif"} <= {path.name for path in output.iterdir()}


def test_film_as_mp4(autoencoder, tmp_path):
    pytest.importorskip("av")
    config, folder = autoencoder
    config = config.copy_and_resolve_references()
    config.predict.film = "mp4"
    Image.new("L", (12, 12), 99).save(tmp_path / "a.png")
    predict.predict_files(config, str(folder), str(tmp_path / "a.png"), str(tmp_path / "seen"))
    assert (tmp_path / "seen" / "a.mp4").stat().st_size > 500


def test_classifier_leaves_metrics_and_answers(classifier, tmp_path):
    config, folder = classifier
    metrics = evaluation(folder)["metrics"]
    assert {"error", "error_single", "cross_entropy", "beats_random"} <= set(metrics)
    assert {f"error_{policy}" for policy in FIXED} <= set(metrics)
    assert (folder / "figures" / "where_it_looks_4.png").exists()
    Image.new("RGB", (50, 30), (200, 10, 99)).save(tmp_path / "digit.png")
    predict.predict_files(config, str(folder), str(tmp_path / "digit.png"), str(tmp_path / "seen"))
    record = json.loads((tmp_path / "seen" / "predictions.jsonl").read_text())
    assert record["label"] in record["probabilities"]
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert not (tmp_path / "seen" / "digit_reconstruction.png").exists()


@pytest.mark.parametrize("variant", ["", "mnist", "translated", "cluttered60", "cluttered100"])
def test_every_variant_makes_a_task(variant):
    check_variant(ram.get_config(variant), [28, 28, 1] if variant else [16, 16, 1])


def test_cifar10_variant_makes_a_task():
    check_variant(ram.get_config("cifar10"), [32, 32, 3])


def check_variant(config, shape):
    task = attention.make(config, {"shape": shape, "classes": list("0123456789")})
    batch = {
        "image": np.zeros((4, *shape), np.uint8),
        "label": np.zeros(4, np.int32),
        "index": np.arange(4, dtype=np.int32),
    }
    key = jax.random.key(0)
    variables = jax.eval_shape(task.model.init, key, batch)
    batch = jax.eval_shape(task.model.augment, key, batch)
    side = config.canvas.size or shape[0]
    assert batch["image"].shape == (4, side, side, shape[2])
    loss, _ = jax.eval_shape(task.model.loss, variables["params"], {}, batch, key)
    assert loss.shape == ()


@pytest.mark.parametrize("head", ["classifier", "decoder"])
@pytest.mark.parametrize("first", ["random", "learned"])
def test_an_answer_does_not_depend_on_the_pictures_beside_it(head, first):
    reward = {"classifier": "correct", "decoder": "error_drop"}[head]
    config = ram_config(model__head=head, loss__reward=reward, model__first=first)
    task = attention.make(config, INFO)
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 1), np.uint8)
    variables = jax.jit(task.model.init)(jax.random.key(0), {"image": images})
    predict_batch = jax.jit(task.model.predict)
    together = predict_batch(variables, images)
    for i in (0, 5):
        alone = predict_batch(variables, images[i : i + 1])
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at_means", [True, False])
def test_at_the_means_evaluation_has_no_noise(at_means):
    config = ram_config(model__first="learned", model__std=0.5, model__at_means=at_means)
    task = attention.make(config, INFO)
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1), np.uint8)
    batch = {"image": images, "index": np.arange(4, dtype=np.int32)}
    variables = jax.jit(task.model.init)(jax.random.key(0), batch)
    measure = jax.jit(task.model.metrics)
    places = [measure(variables, batch, jax.random.key(seed)).rows["locations"] for seed in (1, 2)]
    assert np.array_equal(*places) == at_means


def test_predictions_need_neither_flax_nor_jax():
    program = """
import sys
import numpy as np
from configs import ram
from jaxvision.tasks import attention
info = {"shape": [28, 28, 1], "classes": list("0123456789")}
predictor = attention.make_predictor(ram.get_config("mnist"), info)
prepared = predictor.prepare(np.zeros((60, 100, 3), np.uint8))
outputs = {"locations": np.zeros((1, 6, 2)), "probabilities": np.eye(10)[None, 3]}
record = predictor.decode(outputs, prepared.context, {}).record
assert record["label"] == "3" and record["glimpses"][0]["x"] == 50, record
assert "jax" not in sys.modules
attention.make_report(ram.get_config("mnist"), info)
assert not {"flax", "optax", "orbax", "clu"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("height, width", [(1, 1), (9, 300), (200, 120)])
def test_glimpses_are_told_in_the_pictures_own_pixels(height, width):
    predictor = attention.make_predictor(ram_config(), INFO)
    picture = np.full((height, width, 3), 200, np.uint8)
    prepared = predictor.prepare(picture)
    assert prepared.inputs.shape == (1, 12, 12, 1)
    locations = np.array([[[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]], np.float32)
    outputs = {"locations": locations, "reconstructions": np.full((1, 4, 12, 12, 1), 200 / 255)}
    prediction = predictor.decode(outputs, prepared.context, {})
    side, record = min(height, width), prediction.record
    ends = [(record["glimpses"][i]["x"], record["glimpses"][i]["y"]) for i in (0, 2)]
    left, top = (width - side) // 2, (height - side) // 2
    assert ends == [(left, top), (left + side, top + side)]
    assert record["glimpses"][0]["sides"][0] == pytest.approx(4 * side / 12)
    assert record["psnr"][-1] == pytest.approx(100)
    assert predictor.render(picture, prediction).ndim == 3


def test_digits_of_other_class_names_are_not_judged(classifier, tmp_path):
    config, folder = classifier
    config = config.copy_and_resolve_references()
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (28, 28), 60 * i).save(tmp_path / "photos" / name / f"{i}.png")
    config.data.path, config.data.image_size, config.data.gray = str(tmp_path / "photos"), 28, True
    with pytest.raises(UserError, match="has class cat, dog, which the model does not know"):
        evaluate.evaluate_workdir(config, str(folder), "all")


def test_unknown_variant_is_named():
    code, _, stderr = main("--config=configs/ram.py:svhn", "--workdir=workdir/none")
    assert code == 2 and "Traceback" not in stderr and len(stderr.splitlines()) == 1
    assert "ram.py:svhn is unknown: after the colon comes one of mnist, translated" in stderr


@pytest.mark.parametrize(
    "change, message",
    [
        ({"canvas__size": 11}, "canvas.size=11 is less than the images of 12 x 12"),
        ({"canvas__size": 20, "canvas__clutter": 2, "canvas__clutter_size": 13}, "clutter_size=13"),
    ],
)
def test_configs_that_cannot_be_are_named(change, message):
    with pytest.raises(UserError, match=message):
        attention.make(ram_config(**change), INFO)


def test_classifier_without_labels_is_refused():
    config = ram_config(model__head="classifier", loss__reward="correct")
    with pytest.raises(UserError, match="needs labels: give folders of classes"):
        attention.make(config, {"shape": [12, 12, 3], "classes": []})


def test_images_of_another_kind_are_not_judged():
    config = ram_config(model__head="classifier", loss__reward="correct")
    task = attention.make(config, INFO)
    batch = {"image": np.zeros((2, 12, 12, 1), np.uint8), "index": np.arange(2)}
    variables = jax.eval_shape(task.model.init, jax.random.key(0), batch)
    with pytest.raises(UserError, match="no labels to judge a classifier by"):
        jax.eval_shape(task.model.metrics, variables, batch, jax.random.key(0))
    batch["image"] = np.zeros((2, 12, 13, 1), np.uint8)
    with pytest.raises(UserError, match=r"\(12, 13, 1\).*the model's were \(12, 12, 1\)"):
        jax.eval_shape(task.model.metrics, variables, batch, jax.random.key(0))


def test_evaluation_shows_each_image_at_one_place_whatever_its_batch():
    config = ram_config(canvas__size=30)
    pixels = np.random.default_rng(0).integers(1, 255, (6, 12, 12, 1), np.uint8)
    index = np.arange(6, dtype=np.int32)
    whole = canvas.evaluation_images(config, {"image": pixels, "index": index})
    part = canvas.evaluation_images(config, {"image": pixels[4:], "index": index[4:]})
    np.testing.assert_array_equal(whole[4:], part)
    trained = [
        canvas.augment(config, jax.random.key(i), {"image": pixels})["image"] for i in range(2)
    ]
    assert (trained[0] != trained[1]).any() and (trained[0] != whole).any()


def test_clutter_does_not_depend_on_the_batch():
    """What evaluation strews over an image follows from its place in the split alone."""
    config = ram_config(canvas__size=30, canvas__clutter=3, canvas__clutter_size=4)
    pixels = np.random.default_rng(0).integers(1, 255, (9, 12, 12, 1), np.uint8)
    split = Split([str(i) for i in range(9)], _Rows(pixels), 9)
    dataset = Dataset("random", {"test": split}, [], {"classes": []}, "key")
    adapted = attention.make(config, INFO).report.adapt(dataset)
    assert adapted.fingerprint != dataset.fingerprint
    rows = [adapted.splits["test"].read(i) for i in range(9)]
    assert rows[0]["pieces"].shape == (3, 4, 4, 1)
    assert not any(same_piece(rows[0]["pieces"][0], pixels[0], 4))  # of others, not its own
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    whole = canvas.evaluation_images(config, batch)
    part = canvas.evaluation_images(config, {name: array[5:7] for name, array in batch.items()})
    np.testing.assert_array_equal(whole[5:7], part)
    plain = canvas.evaluation_images(ram_config(canvas__size=30), batch)
    assert (np.asarray(whole) >= np.asarray(plain)).all() and (whole != plain).any()


def same_piece(piece, image, side):
    """Whether the piece is at each place of the image."""
    for top in range(image.shape[0] - side + 1):
        for left in range(image.shape[1] - side + 1):
            yield (image[top : top + side, left : left + side] == piece).all()


class _Rows(NamedTuple):
    pixels: np.ndarray

    def __call__(self, row):
        return {"image": self.pixels[row], "index": np.int32(row)}


def test_rollouts_are_averaged_before_the_answer():
    logits = np.log([[[0.6, 0.4]], [[0.6, 0.4]], [[0.1, 0.9]]]).astype(np.float32)  # [3, 1, 2]
    rows = metrics_attention.classifier_rows(logits, np.array([1]))
    assert rows["wrong"].tolist() == [0] and rows["wrong_once"][0] == pytest.approx(2 / 3)
    assert rows["nll"][0] == pytest.approx(-np.log(1.7 / 3), rel=1e-5)


def test_reconstructions_are_judged_rollout_by_rollout():
    pixels = np.full((2, 3, 3, 1), 255, np.uint8)
    outputs = np.ones((2, 4, 2, 3, 3, 1), np.float32)
    outputs[0, :, 0] = 0.9
    outputs[1, :, 0] = 1.7  # clipped to what a pixel can be
    rows = metrics_attention.decoder_rows(outputs, pixels)
    assert rows["mse"].shape == (2, 4)
    np.testing.assert_allclose(rows["mse"][0], 0.005, rtol=1e-4)
    np.testing.assert_allclose(rows["psnr"][0], (20 + 100) / 2, rtol=1e-4)


def test_a_policy_beats_random_only_beyond_chance():
    rng = np.random.default_rng(0)

    def summary(own):
        wrong = {f"wrong/{policy}": (np.arange(400) % 4 == 0) * 1.0 for policy in FIXED}
        rows = {"wrong/own": own, "wrong_once/own": own, "nll/own": own, **wrong}
        rows |= {"seen": np.ones(400), "seen_sharp": np.ones(400)}
        return metrics_attention.summarize(Measured({}, rows), {})

    better = summary((np.arange(400) % 8 == 0) * 1.0)
    assert better["beats_random"] == 1 and better["gain_over_random"] == pytest.approx(0.125)
    same = summary(rng.permutation((np.arange(400) % 4 == 0) * 1.0))
    assert same["beats_random"] == 0 and same["gain_over_random"] == 0 and same["gain_se"] > 0


def test_figures_show_boxes_patches_and_reconstruction():
    retina = Retina(4, 2, 2)
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    locations = np.array([[-0.5, 0.0], [0.5, 0.0]], np.float32)
    steps = np.stack([np.full((16, 16, 3), 0.5)] * 3)
    view = figures.View(image, locations, steps, "half")
    block = figures.glimpse_rows([view, view], retina)
    rows = 4  # image, two squares, reconstruction
    side = figures.PANEL + figures.GAP
    assert block.shape == (
        2 * (figures.HEADER + rows * side + figures.GAP),
        figures.MARGIN + 2 * side,
        3,
    )
    top = figures.HEADER + side  # the row of the sharpest square
    for t, expected in ((0, 0), (1, 255)):
        left = figures.MARGIN + t * side
        panel = block[top : top + figures.PANEL, left : left + figures.PANEL]
        assert (panel == expected).all(), t
    film = figures.film([view], retina)
    assert film.shape[0] == 4 and (film[-1] == film[1]).all() and (film[0] != film[1]).any()
    assert figures.heat_maps(locations[None], np.array([0]), ["a", "b"]).ndim == 3
