"""The commands of the README, and one clear line for each mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import train_in

ROOT = Path(__file__).parents[1]
TINY = (
    "--config.model.encoder.name=mobilenet_v2_tiny",
    "--config.model.decoder_widths=(8,8,8,8,8)",
    "--config.data.image_size=32",
    "--config.data.synthetic_examples.train=8",
    "--config.data.synthetic_examples.val=2",
    "--config.data.synthetic_examples.test=3",
    "--config.batch_size=4",
    "--config.train.steps=2",
    "--config.predict.tile=128",
    "--config.predict.overlap=8",
)


def main(*arguments):
    """Runs main.py; returns (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no --workdir given"),
        (("--workdir=w",), "workdir 'w' does not exist"),
        (("--workdir=w", "--mode=evaluate"), "workdir 'w' does not exist"),
        (("--workdir=w", "--mode=drive"), "should be one of"),
        (("--workdir=w", "--config=configs/unte.py"), "configs/unte.py"),
        (("--workdir=w", "--config=configs/unet.py", "--config.batch_sise=4"), "batch_sise"),
        (("--workdir=w", "--config=configs/unet.py", "--config.model.enc.x=4"), "enc"),
        (("--workdir=w", "--config=configs/unet.py", "--config.batch_size=big"), "big"),
        (("--workdir=w", "--config=configs/unet.py", "--config.batch_size=1.5"), "1.5"),
        (("--workdir=w", "--config=configs/unet.py", "train"), "unexpected argument 'train'"),
        (("--workdir=w", "--config=configs/unet.py", "--nonsense=1"), "nonsense"),
        (
            ("--workdir={tmp}/w", "--config=configs/unet.py", "--config.data.path=/nowhere"),
            "/nowhere",
        ),
        (
            ("--workdir={tmp}/w", "--config=configs/unet.py", "--config.task=drive"),
            "task='drive' is unknown",
        ),
        (
            ("--workdir={tmp}/w", "--config=configs/unet.py", "--config.batch_size=0"),
            "batch_size=0",
        ),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_2(arguments, message, tmp_path):
    code, _, stderr = main(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 2, stderr
    assert message in stderr and "Traceback" not in stderr
    assert len([line for line in stderr.splitlines() if line.startswith("error:")]) == 1
    assert not (tmp_path / "w" / "config.json").exists()


def test_train_evaluate_predict(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    code, stdout, stderr = main(workdir, "--config=configs/unet.py", *TINY)
    assert code == 0, stderr
    assert "test: iou" in stdout
    trained = json.loads((tmp_path / "run/evaluation.json").read_text())

    code, stdout, stderr = main(workdir, "--mode=evaluate")
    assert code == 0, stderr
    again = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert again == trained

    code, stdout, stderr = main(workdir, "--mode=evaluate", "--split=all")
    assert code == 0 and "all: iou" in stdout and "(13 examples" in stdout, stderr

    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (90, 100, 3), np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(pixels).save(photos / name)
    (photos / "c.jpg").write_bytes(b"not a picture")
    output = tmp_path / "masks"
    code, stdout, stderr = main(
        workdir, "--mode=predict", f"--input={photos}", f"--output={output}"
    )
    assert code == 2 and "1 of 3 files could not be read: c.jpg" in stderr
    assert Image.open(output / "a.png").size == (100, 90)
    assert (output / "b_side_by_side.jpg").exists()
    records = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert [Path(record["file"]).name for record in records] == ["a.png", "b.jpg", "c.jpg"]
    assert "error" in records[2]


def test_evaluates_on_another_data_set(tmp_path):
    train_in(tmp_path / "run", train__steps=2)
    rng = np.random.default_rng(0)
    for kind, shape in (("images", (40, 50, 3)), ("masks", (40, 50))):
        folder = tmp_path / "other" / "test" / kind
        folder.mkdir(parents=True)
        for i in range(3):
            high = 256 if kind == "images" else 2
            Image.fromarray(rng.integers(0, high, shape).astype(np.uint8)).save(folder / f"{i}.png")
    other = f"--config.data.path={tmp_path / 'other'}"
    code, stdout, stderr = main(f"--workdir={tmp_path / 'run'}", "--mode=evaluate", other)
    assert code == 0 and "(3 examples" in stdout, stderr
    code, _, stderr = main(f"--workdir={tmp_path / 'run'}", "--mode=evaluate", "--split=val", other)
    assert code == 2 and "has only test" in stderr
    code, _, stderr = main(
        f"--workdir={tmp_path / 'run'}", "--mode=evaluate", "--config.model.encoder.bn_momentum=0.5"
    )
    assert code == 2 and "model.encoder.bn_momentum" in stderr


def test_a_kept_step_is_judged_and_drawn_again(tmp_path):
    keep = {"checkpoint__keep_every_steps": 2, "checkpoint__every_steps": 2}
    train_in(tmp_path / "run", train__steps=6, eval__every_epochs=1.0, **keep)
    workdir = f"--workdir={tmp_path / 'run'}"
    code, stdout, stderr = main(workdir, "--mode=evaluate", "--step=4", "--split=val")
    assert code == 0 and "step 4)" in stdout, stderr
    assert (tmp_path / "run/figures/val_predictions_4.png").exists()
    code, _, stderr = main(workdir, "--mode=evaluate", "--step=5")
    assert code == 2 and "--step=5" in stderr and "2, " in stderr
