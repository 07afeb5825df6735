"""Errors by blur, size and corruption: the numbers, and a run of them from the command."""

import csv
import functools
import json
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxvision import evaluate, train
from jaxvision.engine import read_config
from jaxvision.input_pipeline.augment import webcam
from jaxvision.sharding import make_mesh
from jaxvision.tasks.classification import model, robustness
from tests.tasks.classification.test_classification import CLASSES, picture, tiny_config

ZOO = Path(__file__).parents[3] / "zoo" / "fer"


def test_quarters_go_from_least_to_most_and_keep_equals_together():
    values, right = np.array([4.0, 1, 3, 2, 8, 7, 6, 5]), np.array([1, 0, 0, 1, 1, 1, 1, 1]) > 0
    table = robustness.by_quarter("sharpness", values, right)
    assert [row["sharpness from"] for row in table] == [1, 3, 5, 7]
    assert [row["accuracy"] for row in table] == [0.5, 0.5, 1, 1]
    assert table[0]["standard error"] == pytest.approx(0.5 / np.sqrt(2))
    sizes = np.array([48] * 7 + [96])
    table = robustness.by_quarter("pixels", sizes, right)
    assert [(row["pixels from"], row["to"], row["examples"]) for row in table] == [
        (48, 48, 7),
        (96, 96, 1),
    ]


def test_corruptions_lose_what_is_between_clean_and_their_mean():
    accuracies = {
        (name, strength): 0.1 * i + 0.01 * s
        for i, name in enumerate(webcam.CORRUPTIONS)
        for s, strength in enumerate(robustness.STRENGTHS)
    }
    table = {row["corruption"]: row for row in robustness.by_corruption(0.9, accuracies)}
    assert list(table) == ["none", *webcam.CORRUPTIONS, "mean"]
    assert table["none"]["lost"] == 0 and table["none"]["mean"] == pytest.approx(0.9)
    assert table["defocus"]["mean"] == pytest.approx(0.21)
    assert table["defocus"]["lost"] == pytest.approx(0.69)
    assert table["mean"]["strong"] == pytest.approx(0.27)


def test_sharpness_is_the_variance_of_the_laplacian():
    from scipy import ndimage

    image = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), np.uint8)
    laplacian = ndimage.laplace(image[0].astype(float).mean(axis=-1))[1:-1, 1:-1]
    assert float(robustness.sharpness(image)[0]) == pytest.approx(laplacian.var(), rel=1e-4)
    blurred = np.array(ndimage.gaussian_filter(image, (0, 1, 1, 0)))
    assert robustness.sharpness(blurred)[0] < 0.3 * robustness.sharpness(image)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir) of a run on pictures of 16 and 24 pixels."""
    folder = tmp_path_factory.mktemp("data")
    for c, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for i in range(40):
            drawn = picture(name, 1000 * c + i)
            drawn = drawn.resize((24, 24), Image.Resampling.NEAREST) if i % 2 else drawn
            drawn.save(folder / name / f"{i:03d}.png")
    workdir = tmp_path_factory.mktemp("run") / "w"
    config = tiny_config(data__path=str(folder))
    train.train(config, str(workdir))
    return config, workdir


def test_evaluation_tells_what_a_webcam_costs(run, monkeypatch, tmp_path, capsys):
    config, workdir = run
    config = config.copy_and_resolve_references()
    config.eval.corruptions = True
    traced, corrupt = [], webcam.corrupt
    monkeypatch.setattr(
        webcam, "corrupt", lambda name, *rest: traced.append(name) or corrupt(name, *rest)
    )
    evaluate.evaluate_workdir(config, str(workdir), "all", output=str(tmp_path))
    assert traced == list(webcam.CORRUPTIONS)  # compiled once each, for all strengths and figures
    record = json.loads((tmp_path / "evaluation.json").read_text())
    table = {row["corruption"]: row for row in record["tables"]["corruptions"]}
    assert table["none"]["mean"] == pytest.approx(record["metrics"]["accuracy"])
    assert table["dark"]["strong"] < table["none"]["mean"] - 0.2  # two of the classes are light
    blur = record["tables"]["blur"]
    assert [row["examples"] for row in blur] == [30] * 4
    assert sum(row["examples"] * row["accuracy"] for row in blur) == pytest.approx(
        120 * record["metrics"]["accuracy"]
    )
    assert [row["to"] for row in record["tables"]["size"]] == [16, 24]
    with open(tmp_path / "tables" / "all_corruptions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["corruption"] for row in rows] == list(table)
    assert float(rows[1]["mild"]) == table["dark"]["mild"]
    assert "corruptions:" in capsys.readouterr().out
    for name in ("corruptions", "corrupted"):
        assert Image.open(tmp_path / "figures" / f"all_{name}_40.png").width > 300
    # What a picture suffers depends on its place in the split, not on the batch.
    config.eval.batch_size = 32
    config.eval.figure_rows = 0
    evaluate.evaluate_workdir(config, str(workdir), "all", output=str(tmp_path / "other"))
    other = json.loads((tmp_path / "other" / "evaluation.json").read_text())
    assert other["tables"]["corruptions"] == record["tables"]["corruptions"]
    assert not (tmp_path / "other" / "figures").exists() or not list(
        (tmp_path / "other" / "figures").glob("*corrupt*")
    )


def test_a_condition_is_told_where_each_picture_stands_in_its_split(monkeypatch):
    monkeypatch.setattr(evaluate.loader, "eval_batches", lambda feed, size: [{}] * 3)
    feed = types.SimpleNamespace(mesh=make_mesh({}))
    rows = evaluate._changed(lambda batch, rows: np.asarray(rows), feed, 4 * len(jax.devices()))
    np.testing.assert_array_equal(np.concatenate(list(rows)), range(12 * len(jax.devices())))


def test_an_exported_model_is_judged_as_well(tmp_path):
    config = read_config(str(ZOO))
    config.data.path = ""
    config.data.synthetic_examples = dict(train=7, val=7, test=14)
    config.eval.corruptions = True
    config.eval.batch_size = 14
    evaluate.evaluate_workdir(config, str(ZOO), "test", output=str(tmp_path))
    tables = json.loads((tmp_path / "evaluation.json").read_text())["tables"]
    assert len(tables["corruptions"]) == len(webcam.CORRUPTIONS) + 2
    assert "size" not in tables  # built-in faces have one size


def test_webcam_augmentation_leaves_the_other_draws_alone():
    """Where it does not strike, a picture is what it would be without: with 0 nothing changed."""
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), np.uint8)
    batch, augmented = {"image": images, "label": np.zeros(16, np.int32)}, []
    for probability in (0.0, 0.5):
        config = tiny_config(augment__webcam=probability, augment__mixup=0.0, augment__cutmix=0.0)
        augment = jax.jit(functools.partial(model._augment, config.augment, 16))
        augmented.append(np.asarray(augment(jax.random.key(3), batch)["image"]))
    off = np.abs(augmented[1] - augmented[0]).max(axis=(1, 2, 3))
    assert 3 < (off > 1).sum() < 13
    assert (off < 0.01).sum() == 16 - (off > 1).sum()
