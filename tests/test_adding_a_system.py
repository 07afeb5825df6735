"""The sixth system of docs/adding_a_system.md, from a folder of its own: as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]


def write_files(folder):
    """The python blocks of the page, each into the file that its first line names."""
    page = (ROOT / "docs" / "adding_a_system.md").read_text()
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page, flags=re.S)
    for name, text in blocks:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return [name for name, _ in blocks]


def test_a_system_of_ones_own_trains_evaluates_and_predicts(tmp_path):
    names = write_files(tmp_path)
    assert names == [f"mean_colour/{name}.py" for name in ("config", "reader", "task")]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def main(*arguments):
        return subprocess.run(
            [sys.executable, str(ROOT / "main.py"), f"--workdir={tmp_path / 'run'}", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    trained = main("--config=mean_colour/config.py")
    assert trained.returncode == 0, trained.stderr
    evaluated = main("--mode=evaluate")
    assert evaluated.returncode == 0, evaluated.stderr
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert record["metrics"]["rmse"] < 20, record  # the mean colour of all would be some 43 off
    (tmp_path / "photos").mkdir()
    picture = np.full((30, 50, 3), (180, 90, 120), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photos" / "a.png")
    predicted = main("--mode=predict", f"--input={tmp_path / 'photos'}", "--output=colours")
    assert predicted.returncode == 0, predicted.stderr
    assert "a.png: mean colour [" in predicted.stdout
    (colour,) = json.loads((tmp_path / "colours" / "colours.json").read_text()).values()
    assert np.abs(np.array(colour) - (180, 90, 120)).max() < 60
