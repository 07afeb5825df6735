"""What an exported model is used without, in processes that could not import it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]
TRAINING = ("flax", "optax", "orbax", "clu")
MODELS = sorted(path.parent.name for path in ROOT.glob("zoo/*/model.json"))
# As main.py, but the modules named first cannot be imported.
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ImportError(f"{name} is imported")

sys.meta_path.insert(0, Absent())
import main
sys.exit(main.main(["main.py", *sys.argv[2:]]))
"""


def without(modules, *arguments):
    """Runs main.py where `modules` cannot be imported; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(modules), *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def picture(tmp_path):
    """A picture of anything, 100 pixels square: small enough to be taken for a face."""
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((100, 100))
    pixels.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def predicted(name, picture, output, modules, *more):
    arguments = ["--mode=predict", f"--workdir=zoo/{name}", f"--input={picture}"]
    without(modules, *arguments, f"--output={output}", *more)
    record = json.loads((output / "predictions.jsonl").read_text())
    return {key: value for key, value in record.items() if not isinstance(value, str)}


def close(a, b):
    """Numbers of two records agree to what is worth telling."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-3, abs=1e-3) if isinstance(a, float) else a == b


@pytest.mark.parametrize("name", MODELS)
def test_predict_needs_neither_flax_nor_with_onnxruntime_jax(name, picture, tmp_path):
    program = predicted(name, picture, tmp_path / "a", TRAINING)
    session = predicted(
        name, picture, tmp_path / "b", (*TRAINING, "jax", "jaxlib"), "--engine=onnx"
    )
    assert len(program) > 0 and close(program, session)


def test_the_guard_guards(picture, tmp_path):
    with pytest.raises(AssertionError, match="jax is imported"):
        predicted("digits", picture, tmp_path / "out", ("jax",))


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_evaluate_needs_no_flax(engine, tmp_path):
    digits = tmp_path / "digits"
    for label in range(10):
        (digits / "test" / str(label)).mkdir(parents=True)
        pixels = np.random.default_rng(label).integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(digits / "test" / str(label) / "a.png")
    data = ("image_size=28", "gray=True", f"path={digits}")
    arguments = (*(f"--config.data.{field}" for field in data), f"--engine={engine}")
    output = f"--output={tmp_path / 'out'}"
    without(TRAINING, "--mode=evaluate", "--workdir=zoo/digits", *arguments, output)
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert evaluation["examples"] == 10 and 0 <= evaluation["metrics"]["error"] <= 1


def test_an_exported_folder_is_not_trained_or_exported(tmp_path):
    for mode, *output in (("train",), ("export", f"--output={tmp_path / 'out'}")):
        with pytest.raises(AssertionError, match="zoo/digits is an exported model"):
            without((), f"--mode={mode}", "--workdir=zoo/digits", *output)
    assert not Path(ROOT / "zoo/digits/config.json").exists()
