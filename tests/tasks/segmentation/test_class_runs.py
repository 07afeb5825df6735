"""A run of several classes from its data to the exported folder, by both engines."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxvision import evaluate, predict
from jaxvision.engine import read_config
from jaxvision.errors import UserError
from jaxvision.export.write import export_model
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.synthetic import aerial
from tests.exported_models import begun
from tests.tiny import tiny_config

pytest.importorskip("onnxruntime")
CLASSES = ("background", "building", "road", "tree")


def config_of(**changes):
    best = {"checkpoint__best_metric": "mean_iou", "data__classes": CLASSES}
    return tiny_config(data__image_size=72, **{**best, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("classes") / "run"
    begun(config_of(), workdir)
    return workdir


def judged(config, folder, output, **options):
    evaluate.evaluate_workdir(config, str(folder), "test", output=str(output), **options)
    return json.loads((output / "evaluation.json").read_text())


def test_evaluation_goes_by_names(run, tmp_path):
    own = judged(read_config(run), run, tmp_path / "a")
    assert {f"iou/{name}" for name in CLASSES} <= own["metrics"].keys()
    assert sum(row["pixels"] for row in own["tables"]["classes"]) == 5 * 72 * 72
    swapped = judged(config_of(data__classes=CLASSES[::-1]), run, tmp_path / "b")
    assert swapped["metrics"] == own["metrics"] and swapped["tables"] == own["tables"]
    fewer = judged(config_of(data__classes=("tree", "background")), run, tmp_path / "c")
    assert [row["pixels"] > 0 for row in fewer["tables"]["classes"]] == [True, False, False, True]
    with pytest.raises(UserError, match="masks of one kind of object"):
        judged(config_of(data__classes=()), run, tmp_path / "d")


def test_an_exported_folder_answers_by_both_engines(run, tmp_path):
    folder, pictures = tmp_path / "model", tmp_path / "in"
    export_model(read_config(run), str(run), str(folder))
    described = json.loads((folder / "model.json").read_text())
    assert described["classes"] == list(CLASSES)
    assert described["outputs"]["probabilities"]["shape"][-1] == 4
    pictures.mkdir()
    Image.fromarray(aerial.render(0, 0, 150)[0]).save(pictures / "a.png")
    masks = []
    for name, source in (("local", run), ("local", folder), ("onnx", folder)):
        output = tmp_path / f"{name}_{source.name}"
        predict.predict_files(
            read_config(source), str(source), str(pictures), str(output), engine=name
        )
        record = json.loads((output / "predictions.jsonl").read_text())
        assert list(record["shares"]) == list(CLASSES)
        masks.append(np.asarray(Image.open(record["mask"])))
        for number, share in enumerate(record["shares"].values()):
            assert share == pytest.approx((masks[-1] == number).mean())
    assert len(np.unique(masks[0])) > 1
    assert all((mask == masks[0]).mean() > 0.999 for mask in masks)


def test_built_in_scenes_have_the_classes_that_are_asked_for():
    image, mask = aerial.render(0, 0, 96)
    again, numbers = aerial.render(0, 0, 96, CLASSES)
    np.testing.assert_array_equal(image, again)
    assert ((numbers == 1) != (mask == 1)).mean() < 0.01  # a pixel half roof, half crown
    assert [(numbers == k).mean() > 0.03 for k in range(4)] == [True] * 4
    fewer = aerial.render(0, 0, 96, ("road", "background"))[1]
    np.testing.assert_array_equal(fewer == 0, numbers == 2)
    with pytest.raises(UserError, match="built-in scenes have background, building, road, tree"):
        loader.load_dataset(config_of(data__classes=("background", "water")))
