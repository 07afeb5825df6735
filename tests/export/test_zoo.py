"""Every model of the zoo is whole, small, described, and answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxvision.engine import open_engine, read_config
from jaxvision.exported import folder as exported_folder

pytest.importorskip("onnxruntime")
ZOO = Path(__file__).parents[2] / "zoo"
MODELS = sorted(path.parent for path in ZOO.glob("*/model.json"))
LARGEST = 5_000_000  # bytes


@pytest.fixture(params=MODELS, ids=lambda path: path.name)
def model(request):
    return request.param


def test_folder_is_whole_and_small(model):
    exported = exported_folder.read(model)
    files = exported.described["files"]
    assert {path.name for path in model.iterdir()} == {*files, "model.json"}
    for name in files:  # raises where the bytes are others
        exported_folder.read_file(exported, name)
    assert sum(path.stat().st_size for path in model.iterdir()) <= LARGEST
    assert exported.described["weights_dtype"] == "float16"


def test_no_path_of_the_machine_that_made_it(model):
    described = json.loads((model / "model.json").read_text())
    path = described["config"]["data"]["path"]
    assert path == Path(path).name
    for file in model.iterdir():
        for folder in (b"/work", b"/home", b"/root", b"/tmp", b"/Users"):
            assert folder not in file.read_bytes(), file


def test_its_config_is_of_today(model, capsys):
    """A field that came since would be told of in a newcomer's first minute."""
    read_config(str(model))
    assert not capsys.readouterr().out


def test_card_says_what_a_user_must_know(model):
    card = (model / "README.md").read_text()
    for part in ("## Data, terms and limits", "Not fit for", "python main.py --config=", "/data/"):
        assert part in card
    described = json.loads((model / "model.json").read_text())
    for name in described["metrics"]["headline"]:
        assert f"| {name} | {described['metrics']['values'][name]:.4g} |" in card


def test_a_picture_gets_the_same_answer_from_both_engines(model):
    config, rng = read_config(model), np.random.default_rng(0)
    picture = rng.integers(0, 256, (120, 110, 3), np.uint8)
    records = []
    for name in ("auto", "onnx"):
        engine = open_engine(config, model, name)
        prepared = engine.predictor.prepare(picture)
        outputs = {k: np.asarray(v) for k, v in engine.predict(prepared.inputs).items()}
        assert all(np.isfinite(array).all() for array in outputs.values())
        answer = engine.predictor.decode(outputs, prepared.context, engine.fitted)
        assert engine.predictor.describe(answer.record)
        records.append(outputs)
    for name, array in records[0].items():
        scale = max(np.abs(array).max(), 1)
        np.testing.assert_allclose(records[1][name], array, rtol=0, atol=2e-5 * scale)
