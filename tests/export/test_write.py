"""An exported folder gives what the run's model gives, by every way to run it."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from jaxvision import evaluate
from jaxvision.engine import open_engine, read_config
from jaxvision.errors import UserError
from jaxvision.export import compare, programs
from jaxvision.export.write import Options, export_model
from jaxvision.exported import folder as exported_folder
from tests.exported_models import exported, run_of
from tests.tiny import open_run
from tests.tiny_systems import CONFIGS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def inputs_of(model):
    engine = open_engine(model.config, model.workdir)
    return engine, compare.example_inputs(model.config, engine.trained.task.report)


@pytest.mark.parametrize("system", CONFIGS)
def test_programs_give_what_the_model_gives(system):
    model = exported(system)
    run, inputs = inputs_of(model)
    program, session = (open_engine(model.config, model.folder, name) for name in ("auto", "onnx"))
    assert program.fitted == run.fitted and program.info == run.info and program.step == run.step
    for size in (1, 3, 8):  # no row depends on the others
        wanted = jax.device_get(run.predict(inputs[:size]))
        assert {name: array.shape[0] for name, array in wanted.items()} == dict.fromkeys(
            wanted, size
        )
        for name, array in jax.device_get(program.predict(inputs[:size])).items():
            np.testing.assert_array_equal(array, wanted[name])
        for name, array in session.predict(inputs[:size]).items():
            apart = 1e-3 if name == "points" else 1e-5 * np.abs(wanted[name]).max()
            np.testing.assert_allclose(array, wanted[name], rtol=0, atol=apart)
    varying = [name for name, array in wanted.items() if np.ptp(array, axis=0).max() > 0]
    assert set(wanted) - set(varying) <= {"spread"}  # which a plain regression does not learn


@pytest.mark.parametrize("system", [name for name in CONFIGS if name != "attention"])
@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_metrics_are_those_of_the_workdir(system, engine, tmp_path):
    model = exported(system)
    evaluate.evaluate_workdir(model.config, model.workdir, "test", output=str(tmp_path / "a"))
    config, output = read_config(model.folder), str(tmp_path / "b")
    evaluate.evaluate_workdir(config, model.folder, "test", engine=engine, output=output)
    run, other = (
        json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("a", "b")
    )
    known = {name: v for name, v in other["metrics"].items() if v == v}  # keypoints: no loss
    assert len(known) >= len(run["metrics"]) - 1 and run["examples"] == other["examples"]
    wanted = {name: run["metrics"][name] for name in known}
    assert known == pytest.approx(wanted, rel=2e-4, abs=1e-5, nan_ok=True)


def test_attention_is_judged_by_what_predict_gives():
    model = exported("attention")
    run = open_engine(model.config, model.workdir)
    outputs = []
    for engine in (run._replace(trained=None), open_engine(model.config, model.folder)):
        judge = evaluate.make_judge(model.config, engine)
        outputs.append(evaluate.judge_split(model.config, engine, judge, "test").values)
    assert outputs[0] == outputs[1] and np.isfinite(outputs[0]["psnr"])


def test_half_precision_halves_the_folder_and_stays_within_its_rounding():
    whole, half = exported("segmentation"), exported("segmentation", weights_dtype="float16")
    sizes = [
        [(Path(m.folder) / name).stat().st_size for name in ("weights.safetensors", "model.onnx")]
        for m in (whole, half)
    ]
    assert sizes[1][0] < 0.65 * sizes[0][0] and sizes[1][1] < sizes[0][1]
    program, session = (open_engine(half.config, half.folder, name) for name in ("auto", "onnx"))
    _, inputs = inputs_of(half)
    wanted = np.asarray(program.predict(inputs)["probability"])
    np.testing.assert_allclose(session.predict(inputs)["probability"], wanted, rtol=0, atol=1e-5)
    rounded = exported_folder.read_variables(exported_folder.read(half.folder))
    for name, array in exported_folder.read_variables(exported_folder.read(whole.folder)).items():
        np.testing.assert_allclose(rounded[name], array, rtol=2**-10, atol=1e-7)


def test_onnx_reads_the_weights_beside_it():
    beside = exported("segmentation", weights_dtype="float16", onnx_weights="beside")
    half = exported("segmentation", weights_dtype="float16")
    small, whole = ((Path(m.folder) / "model.onnx").stat().st_size for m in (beside, half))
    kept = sum(
        np.prod(tensor.dims, dtype=int)
        for tensor in onnx.load(
            Path(beside.folder) / "model.onnx", load_external_data=False
        ).graph.initializer
        if not tensor.external_data and len(tensor.dims) == 4 and tensor.data_type == 10
    )
    assert small < whole and kept == 0  # every kernel is in the other file
    _, inputs = inputs_of(beside)
    outputs, wanted = (
        open_engine(m.config, m.folder, "onnx").predict(inputs)["probability"]
        for m in (beside, half)
    )
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-6)
    (Path(beside.folder) / "weights.safetensors").rename(Path(beside.folder) / "moved")
    with pytest.raises(UserError, match="weights.safetensors"):
        open_engine(beside.config, beside.folder, "onnx")
    (Path(beside.folder) / "moved").rename(Path(beside.folder) / "weights.safetensors")


def test_sides_stay_open(tmp_path):
    model = exported("segmentation")
    run, _ = inputs_of(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 160, 3), np.uint8)
    wanted = np.asarray(run.predict(images)["probability"])
    for name in ("auto", "onnx"):
        outputs = open_engine(model.config, model.folder, name).predict(images)["probability"]
        np.testing.assert_allclose(outputs, wanted, rtol=0, atol=1e-5)


def test_a_result_beyond_the_tolerance_is_told_and_nothing_is_written(tmp_path, monkeypatch):
    config, workdir = run_of("classification")
    lower = programs.of_flat

    def wrong(model):  # as a converter that loses a term would
        return lambda weights, images: {
            name: array + 0.01 for name, array in lower(model)(weights, images).items()
        }

    monkeypatch.setattr(programs, "of_flat", wrong)
    calls = []

    def first_right(model):
        calls.append(model)
        return (wrong if len(calls) <= len(programs.PLATFORMS) + 1 else lower)(model)

    monkeypatch.setattr(programs, "of_flat", first_right)
    with pytest.raises(UserError, match=r"not exported: on cpu .* of the largest logits \(1.0e-02"):
        export_model(config, workdir, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


def test_the_folder_says_what_it_is_and_not_where_it_was_made():
    model = exported("classification")
    described = json.loads((Path(model.folder) / "model.json").read_text())
    run = open_engine(model.config, model.workdir)
    assert described["classes"] == run.info["classes"]
    assert described["input"]["shape"] == ["b", 16, 16, 1]
    assert described["outputs"]["logits"]["shape"] == ["b", 7]
    assert described["metrics"]["values"]["accuracy"] >= 0
    metadata = {p.key: p.value for p in onnx.load(Path(model.folder) / "model.onnx").metadata_props}
    assert json.loads(metadata["classes"]) == described["classes"]
    root, home = (str(path).encode() for path in (Path(__file__).parents[2], Path(model.workdir)))
    for path in Path(model.folder).iterdir():
        assert root not in path.read_bytes() and home not in path.read_bytes()


def test_programs_name_weights_but_no_modules():
    """The names of modules beside every operation would be some 30 % of the file."""
    program = (Path(exported("classification").folder) / "cpu.stablehlo").read_bytes()
    text = export.deserialize(bytearray(program)).mlir_module()
    names = re.findall(r'loc\("([^"]*)"', text)
    weights = [name for name in names if name.startswith("weights['params/")]
    modules = {part for name in weights for part in name.split("/")[1:-1]}
    assert "head" in modules
    others = [name for name in names if not name.startswith("weights[")]
    assert not [name for name in others if modules & set(name.split("/"))]


def test_the_card_shows_code_that_runs(monkeypatch):
    model = exported("keypoints")
    card = (Path(model.folder) / "README.md").read_text()
    blocks = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    monkeypatch.chdir(model.folder)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_a_training_begins_with_exported_weights(tmp_path):
    model = exported("classification")
    config = CONFIGS["classification"](init_from=model.folder, seed=5)
    _, _, state = open_run(config, tmp_path)
    weights = exported_folder.read_variables(exported_folder.read(model.folder))
    for name, array in weights.items():
        collection, *path = name.split("/")
        tree = state.params if collection == "params" else state.extra[collection]
        for part in path:
            tree = tree[part]
        np.testing.assert_array_equal(np.asarray(tree), array)


def test_output_that_holds_something_else_is_left_alone(tmp_path):
    config, workdir = run_of("classification")
    (tmp_path / "thesis.txt").write_text("years")
    for output, message in ((str(tmp_path), "holds other files"), ("", "needs --output")):
        with pytest.raises(UserError, match=message):
            export_model(config, workdir, output)
    with pytest.raises(UserError, match="--notes"):
        export_model(config, workdir, str(tmp_path / "new"), options=Options(notes="nowhere.md"))
