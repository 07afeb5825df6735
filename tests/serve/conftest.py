"""Tiny trained models that tests of serving share."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision import workdir
from tests.tasks.classification.test_classification import tiny_config as tiny_faces
from tests.tasks.classification.test_classification import write_folders
from tests.tiny import open_run, tiny_config

ROOT = Path(__file__).parents[2]


def save_run(folder, config, step=1, seed=0):
    """A workdir with a checkpoint, as a run leaves it that has learned nothing yet."""
    config = type(config)({**config.to_dict(), "seed": seed})
    folder.mkdir(exist_ok=True)
    run, _, state = open_run(config, folder)
    workdir.begin(config, str(folder))
    notes = {"info": run.dataset.info, "fitted": {}}
    run.checkpoints.save(step, state.replace(step=np.int32(step)), notes, None)
    run.checkpoints.wait()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """{'buildings', 'faces': workdir} of tiny networks."""
    folder, keep = tmp_path_factory.mktemp("tiny"), os.environ.get("JAXVISION_CACHE")
    os.environ["JAXVISION_CACHE"] = str(folder / "cache")
    try:
        tiles = {"predict__tile": 128, "predict__overlap": 8, "predict__batch_size": 1}
        save_run(folder / "buildings", tiny_config(**tiles))
        photos = write_folders(folder / "photos", 8)
        save_run(folder / "faces", tiny_faces(data__path=str(photos)))
    finally:
        os.environ.pop("JAXVISION_CACHE")
        if keep:
            os.environ["JAXVISION_CACHE"] = keep
    return {name: folder / name for name in ("buildings", "faces")}


class Process:
    """`main.py --mode=serve` at a free port.

    Attributes:
      address: of the server.
    """

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "main.py", "--mode=serve", "--port=0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("serving "):
                self.address = line.split(" at ")[1].strip().rstrip("/")
                return
        raise AssertionError("".join(self.lines))

    def wait_ready(self, seconds=240):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return urllib.request.urlopen(f"{self.address}/readyz", timeout=5)
            except urllib.error.URLError:
                time.sleep(0.1)
        raise AssertionError("not ready")

    def stop(self, number=signal.SIGTERM):
        """Ends it; returns (exit code, all that it wrote)."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(self.lines) + rest


@pytest.fixture(scope="module")
def server(tiny_models):
    """A process that serves both models, ready; buildings first."""
    process = Process(f"--workdir={tiny_models['buildings']},{tiny_models['faces']}")
    try:
        process.wait_ready()
        yield process
    finally:
        code, told = process.stop()
    assert code == 0, told
    assert "Traceback" not in told, told


@pytest.fixture(scope="session")
def aerial(tmp_path_factory):
    """A folder with images/ and masks/ of bright squares, as readers of aerial photos take it."""
    folder, rng = tmp_path_factory.mktemp("aerial"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(3):
        mask = np.zeros((96, 128), np.uint8)
        mask[20:50, 30 + 10 * number : 70 + 10 * number] = 1
        photo = rng.integers(0, 80, (96, 128, 3)) + 170 * mask[..., None]
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.png")
        Image.fromarray(mask * 255).save(folder / f"masks/{number}.png")
    return folder
