"""What is asked of a trained model in vain, and what ends a run early: one line each."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision import evaluate, failures, logs, train
from tests.command import RAM, refused

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model's workdir; it is not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    import main

    assert main.main(["main.py", f"--workdir={folder}", *RAM]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def picture(path, size=(12, 12), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


# ---- evaluate -------------------------------------------------------------------------------

EVALUATE = [
    (("--step=7",), "--step=7"),
    (("--output=/dev/null",), "cannot write to --output='/dev/null': File exists"),
    (("--split=train", "--config.data.path=/nowhere"), "/nowhere"),
    (("--config.model.hidden=9",), "holds another model (model.hidden: 8 then, 9 now)"),
    (("--config.model.widths=(6,6,9)",), "model.widths"),
    (("--config.task=keypoints",), "no field of task"),
    (("--config.data.image_size=16",), "image_size"),
    (("--config.data.synthetic_examples.test=0",), "test"),
    (("--config.eval.batch_size=-1",), "eval.batch_size=-1"),
    (("--config.eval.batch_size=100000000000",), "eval.batch_size"),
]


@pytest.mark.parametrize(("options", "words"), EVALUATE)
def test_evaluate(call, trained, options, words):
    refused(call(f"--workdir={trained}", "--mode=evaluate", *options), words)


def test_arrays_that_today_s_network_does_not_take_are_told(call, copied, tmp_path):
    """As a network that was changed since then: here the saved config is."""
    config = json.loads((copied / "config.json").read_text())
    config["model"]["decoder_width"] = 9
    (copied / "config.json").write_text(json.dumps(config))
    refused(call(f"--workdir={copied}", "--mode=evaluate"), "another version of this code")
    picture(tmp_path / "in/a.png")
    asked = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    refused(call(f"--workdir={copied}", "--mode=predict", *asked), "another version of this code")


def test_evaluations_name_their_data_and_earlier_ones_are_kept(call, copied):
    first = json.loads((copied / "evaluation.json").read_text())
    assert first["data"]["source"].startswith("built-in digits") and first["data"]["path"] == ""
    assert first["data"]["fingerprint"] and first["data"]["config"] == {}
    call(f"--workdir={copied}", "--mode=evaluate")
    assert json.loads((copied / "evaluation.json").read_text()) == first
    assert not (copied / "evaluations").exists()
    code, _, _ = call(
        f"--workdir={copied}", "--mode=evaluate", "--split=val", "--config.eval.rollouts=3"
    )
    second = json.loads((copied / "evaluation.json").read_text())
    assert code == 0 and second["split"] == "val"
    assert second["data"]["config"] == {"eval.rollouts": 3}
    assert json.loads((copied / "evaluations/test_2_1.json").read_text()) == first


def test_a_result_that_cannot_be_written_is_told(call, copied, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "evaluation.json")

    monkeypatch.setattr(logs, "write_json", refuse)
    (copied / "evaluation.json").unlink()
    code, out, lines = call(f"--workdir={copied}", "--mode=evaluate")
    assert code == 0 and not lines
    assert "test: psnr" in out and "not written: evaluation.json and figures" in out


# ---- predict --------------------------------------------------------------------------------

PREDICT = [
    ((), "needs --input"),
    (("--input=/nowhere",), "'/nowhere' does not exist"),
    (("--input={tmp}/empty",), "holds no file to read"),
    (("--input={tmp}/photos", "--output={tmp}/photos"), "is the folder of --input"),
    (("--input={tmp}/photos/a.png", "--output={tmp}/photos"), "is the folder of --input"),
    (("--input={tmp}/photos", "--output={tmp}/text"), "text"),
    (("--input={tmp}/photos", "--output={tmp}/text/inside"), "text"),
    (("--input={tmp}/twice", "--output={tmp}/o"), "several files named 'a'"),
    (("--input={tmp}/text", "--output={tmp}/o"), "1 of 1 files could not be read: text"),
    (("--input={tmp}/mixed", "--output={tmp}/o"), "2 of 3 files could not be read: cut.png, fake"),
    (("--input={tmp}/photos", "--output={tmp}/o", "--step=9"), "--step=9"),
    (("--input={tmp}/photos", "--config.predict.rollouts=0"), "predict.rollouts=0"),
    (("--input={tmp}/photos", "--config.predict.film=mov"), "predict.film='mov'"),
    (("--input={tmp}/photos", "--config.predict.batch_size=0"), "predict.batch_size=0"),
    (("--input={tmp}/photos", "--config.data.range=(9,3)"), "data.range=(9, 3)"),
    (("--input={tmp}/photos", "--config.model.size=5"), "model.size"),
]


@pytest.mark.parametrize(("options", "words"), PREDICT)
def test_predict(call, trained, tmp_path, options, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    picture(tmp_path / "photos/a.png")
    for name in ("a.png", "a.jpg"):
        picture(tmp_path / "twice" / name)
    for name in ("cut.png", "good.png"):
        picture(tmp_path / "mixed" / name)
    cut = tmp_path / "mixed/cut.png"
    cut.write_bytes(cut.read_bytes()[:80])
    (tmp_path / "mixed/fake.jpg").write_bytes(b"no picture")
    options = [option.format(tmp=tmp_path) for option in options]
    refused(call(f"--workdir={trained}", "--mode=predict", *options), words)
    if "mixed" in str(options):
        records = (tmp_path / "o/predictions.jsonl").read_text().splitlines()
        assert [("error" in json.loads(line)) for line in records] == [True, True, False]


def test_a_mistake_that_is_no_file_s_ends_the_prediction(call, trained, tmp_path, monkeypatch):
    from jaxvision.errors import UserError
    from jaxvision.tasks.attention import predictor

    def wrong(*arguments, **options):
        raise UserError("predict.film=mp4 needs PyAV")

    monkeypatch.setattr(predictor, "_prepare", wrong)
    picture(tmp_path / "photos/a.png")
    result = call(f"--workdir={trained}", "--mode=predict", f"--input={tmp_path / 'photos'}",
                  f"--output={tmp_path / 'o'}")  # fmt: skip
    refused(result, "predict.film=mp4 needs PyAV")


def test_the_python_example_of_the_docs(copied, monkeypatch, capsys):
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    monkeypatch.chdir(copied.parent)
    picture(Path("photo.png"), (30, 20))
    exec(example.replace("workdir/unet", str(copied)), {})
    assert "{" in capsys.readouterr().out


# ---- train again ----------------------------------------------------------------------------


def test_a_finished_run_is_not_repeated(call, copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    code, out, lines = call(f"--workdir={copied}", *RAM)
    assert code == 0 and not lines
    assert out.startswith(f"finished before, nothing is left to do: {copied}")
    after = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    assert {p for p in after if after[p] != before.get(p)} <= {copied / ".lock"}
    code, out, _ = call(f"--workdir={copied}", *RAM, "--config.train.steps=3")
    assert code == 0 and "resumed from step 2 of 3" in out


def test_moved_data_may_go_on_and_other_data_may_not(call, tmp_path):
    for i in range(30):
        picture(tmp_path / f"photos/{i}.png", seed=i)
    given = [f"--workdir={tmp_path / 'w'}", *RAM, "--config.train.steps=3"]
    relative = os.path.relpath(tmp_path / "photos")
    code, _, lines = call(*given, f"--config.data.path={relative}", "--config.train.steps=2")
    assert code == 0, lines
    kept = json.loads((tmp_path / "w/config.json").read_text())
    assert kept["data"]["path"] == str(tmp_path / "photos")  # from whatever folder
    moved = tmp_path / "elsewhere/here"
    moved.parent.mkdir()
    (tmp_path / "photos").rename(moved)
    code, out, lines = call(*given, f"--config.data.path={moved}")
    assert code == 0 and "resumed from step 2 of 3" in out, lines
    picture(moved / "30.png", seed=30)
    more = [*given, "--config.train.steps=4"]
    refused(call(*more, f"--config.data.path={moved}"), "begun with other examples")
    refused(call(*more), "begun with other examples")  # the built-in ones


RESUME = [
    (("--config.seed=1",), "seed: 0 then, 1 now"),
    (("--config.optimizer.learning_rate=0.5",), "optimizer.learning_rate"),
    (("--config.model.hidden=9",), "model.hidden: 8 then, 9 now"),
    (("--config.batch_size=4",), "batch_size: 8 then, 4 now"),
]


@pytest.mark.parametrize(("options", "words"), RESUME)
def test_another_run(call, trained, options, words):
    refused(call(f"--workdir={trained}", *RAM, *options), "was begun with another config", words)


# ---- whatever happens -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "/w/metrics.jsonl"), 2, "/w/metrics.jsonl: No sp"),
        (PermissionError(13, "Permission denied", "/w"), 2, "/w: Permission denied"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 2, "not enough mem"),
        (KeyboardInterrupt(), 130, "stopped: interrupted"),
        (failures.Terminated(), 143, "stopped: terminated"),
        (ModuleNotFoundError("No module named 'av'", name="av"), 2, '".[video]"'),
        (ModuleNotFoundError("No module", name="rasterio.windows"), 2, '".[geo]"'),
        (FloatingPointError("loss is not finite"), 1, "stopped: loss is not finite"),
    ],
)
@pytest.mark.parametrize("moment", ["data", "state", "finish", "evaluation"])
def test_at_every_moment(call, tmp_path, monkeypatch, error, code, words, moment):
    """In process, with the heavy parts replaced: what is raised there is told in one line."""

    def raise_it(*arguments, **options):
        raise error

    places = {
        "data": (train.loader, "load_dataset"),
        "state": (train, "start"),
        "finish": (train, "finish"),
        "evaluation": (evaluate, "open_engine"),
    }
    monkeypatch.setattr(*places[moment], raise_it)
    if moment == "finish":
        monkeypatch.setattr(train, "start", lambda *arguments: (_State(), {}))
        monkeypatch.setattr(train, "_loop", lambda *arguments: {})
    mode = "evaluate" if moment == "evaluation" else "train"
    if mode == "evaluate":
        call(f"--workdir={tmp_path / 'w'}", *RAM, "--config.seed=-1")  # nothing begun
    result = call(f"--workdir={tmp_path / 'w'}", f"--mode={mode}", *RAM)
    assert result[0] == code and len(result[2]) == 1, result
    assert words in result[2][0], result


class _State:
    step = 0


def test_what_is_the_program_s_own_fault_keeps_its_traceback(call, tmp_path, monkeypatch):
    def wrong(*arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(train.loader, "load_dataset", wrong)
    with pytest.raises(ZeroDivisionError):
        call(f"--workdir={tmp_path / 'w'}", *RAM)


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_ctrl_c_while_python_still_starts(tmp_path):
    process = start(f"--workdir={tmp_path / 'w'}", *RAM)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), stderr
    assert len(stderr.splitlines()) <= 1 and "Traceback" not in stderr, stderr


def test_ctrl_c_saves_while_processes_decode(tmp_path):
    """As a terminal sends it: to the whole group, the decoding processes included."""
    process = start(
        f"--workdir={tmp_path / 'w'}", *RAM, "--config.data.resident=false",
        "--config.data.workers=2", "--config.train.steps=1000000", "--config.log.every_steps=10",
        "--config.eval.every_epochs=100000", start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step "):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "SIGINT: saved step" in out and "Traceback" not in err and not err.strip(), err
    assert [p for p in (tmp_path / "w" / "checkpoints").iterdir() if p.name.isdigit()]
