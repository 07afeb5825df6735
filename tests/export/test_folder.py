"""A damaged or foreign folder is one clear line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxvision.engine import open_engine, read_config
from jaxvision.errors import UserError
from jaxvision.exported import folder as exported_folder
from tests.tiny_systems import CONFIGS

pytest.importorskip("onnxruntime")
ZOO = Path(__file__).parents[2] / "zoo"


@pytest.fixture
def copy(tmp_path):
    """An exported model that a test may spoil."""
    target = tmp_path / "model"
    shutil.copytree(ZOO / "digits", target)
    return target


def rewrite(folder, **fields):
    path = folder / "model.json"
    described = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in described.items() if v is not None}))


def a_run(folder):
    """A folder that holds no more of a run than its config."""
    run = folder / "run"
    run.mkdir()
    (run / "config.json").write_text(CONFIGS["keypoints"]().to_json())
    return str(run)


def complaint(folder, engine="auto"):
    with pytest.raises(UserError) as error:
        open_engine(read_config(str(folder)), str(folder), engine)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "engine"),
    [("weights.safetensors", "auto"), ("cpu.stablehlo", "auto"), ("model.onnx", "onnx")],
)
def test_missing_and_changed_files_are_named(copy, name, engine):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert f"{copy / name} is not the file that was exported" in complaint(copy, engine)
    (copy / name).write_bytes(data[: len(data) // 2])
    assert f"{copy / name} is not the file that was exported" in complaint(copy, engine)
    (copy / name).unlink()
    assert f"{copy / name}: No such file" in complaint(copy, engine)


def test_only_the_files_that_are_used_need_to_be_there(copy):
    for name in ("weights.safetensors", "cpu.stablehlo", "cuda.stablehlo", "README.md"):
        (copy / name).unlink()
    engine = open_engine(read_config(str(copy)), str(copy), "onnx")
    outputs = engine.predict(np.zeros((2, 28, 28, 1), np.uint8))
    assert outputs["probabilities"].shape == (2, 10)


def test_description_that_is_missing_damaged_newer_or_of_something_else(copy):
    assert exported_folder.is_exported(copy)
    text = (copy / "model.json").read_text()
    (copy / "model.json").write_text(text[: len(text) // 2])
    assert "model.json is damaged" in complaint(copy)
    (copy / "model.json").write_text('{"name": "another program\'s"}')
    assert "has no format number" in complaint(copy)
    (copy / "model.json").write_text("[]")
    assert "has no format number" in complaint(copy)
    (copy / "model.json").write_text(text)
    rewrite(copy, format=exported_folder.FORMAT + 1, versions={"jaxvision": "9.1"})
    assert "written by jaxvision 9.1" in complaint(copy) and "update it" in complaint(copy)
    (copy / "model.json").write_text(text)
    rewrite(copy, fitted=None)
    assert "lacks fitted" in complaint(copy)
    (copy / "model.json").unlink()
    assert exported_folder.is_exported(copy) and "model.json: No such file" in complaint(copy)


def test_other_tasks_models_and_steps_are_refused(copy):
    fields = json.loads((copy / "model.json").read_text())
    with pytest.raises(UserError, match="holds another model .*task: 'attention' then"):
        open_engine(CONFIGS["keypoints"](), str(copy))
    with pytest.raises(
        UserError, match="--step=7: .* was exported from step 42200 and holds no other"
    ):
        open_engine(read_config(str(copy)), str(copy), step=7)
    with pytest.raises(UserError, match="export it first"):
        open_engine(CONFIGS["keypoints"](), a_run(copy.parent), engine="onnx")
    rewrite(copy, task="dreams", config={**fields["config"], "task": "dreams"})
    assert "task='dreams' is unknown" in complaint(copy)


def test_a_platform_without_a_program_is_told_of_those_that_have_one(copy):
    files = json.loads((copy / "model.json").read_text())["files"]
    rewrite(copy, files={n: h for n, h in files.items() if n != "cpu.stablehlo"})
    assert "no program for cpu, only cuda.stablehlo" in complaint(copy)


@pytest.mark.parametrize("engine", ["auto", "onnx"])
@pytest.mark.parametrize("shape", [(1, 29, 28, 1), (1, 28, 28, 3), (1, 28, 28)])
def test_inputs_that_do_not_fit_are_refused(engine, shape):
    opened = open_engine(read_config(ZOO / "digits"), ZOO / "digits", engine)
    with pytest.raises(UserError, match="takes inputs of 28 x 28 x 1"):
        opened.predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(1, 48, 64, 3), (1, 80, 96, 3), (1, 32, 96, 3)])
def test_open_sizes_have_steps_and_a_least(shape):
    opened = open_engine(read_config(ZOO / "buildings"), ZOO / "buildings", "onnx")
    with pytest.raises(UserError, match=r"takes inputs of 32\*h x 32\*w x 3, at least 64 x 64"):
        opened.predict(np.zeros(shape, np.uint8))


def test_neither_a_run_nor_an_export(tmp_path):
    with pytest.raises(UserError, match="holds no config.json"):
        read_config(str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        read_config(str(tmp_path / "nowhere"))
    assert not exported_folder.is_exported(a_run(tmp_path))
