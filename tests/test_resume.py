"""A run that was killed and resumed is the undisturbed run, bit for bit."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from jaxvision import train
from jaxvision.checkpoint import open_checkpoints
from jaxvision.sharding import make_mesh, replicated
from tests.tiny_ram import ram_config
from tests.tiny_systems import fer_config, rat_config

ROOT = Path(__file__).parents[1]
TIMES = ("images_per_second",)
# Saves every 2 steps and after validations, of which the killed run sees at least one.
SHORT = {
    "train__steps": 8,
    "train__ema_decay": 0.9,
    "checkpoint__every_steps": 2,
    "eval__every_epochs": 1.0,
    "eval__figure_rows": 0,
    "log__every_steps": 2,
}
HINDERED = {"augment__wall": 0.5, "augment__occlusion": 0.5, "augment__blur": 1.0}
RUNS = {
    "plateau": lambda: fer_config(**SHORT, optimizer__schedule="plateau"),
    "streaming": lambda: fer_config(**SHORT, data__resident="false", data__workers=1),
    "fused": lambda: fer_config(**SHORT, train__steps_per_call=2),
    "ram": lambda: ram_config(**SHORT),
    "points": lambda: rat_config(**SHORT, **HINDERED),
}
# The process ends at once, while what it saves last is under way: it may be there or not.
KILLED = """
import os, signal, sys
from absl import flags
from jaxvision import train
from jaxvision.checkpoint import Checkpoints
from tests.test_resume import RUNS

save = Checkpoints.save

def save_and_die(self, step, *rest):
    save(self, step, *rest)
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    Checkpoints.save = save_and_die
    train.train(RUNS[sys.argv[1]](), sys.argv[2])
"""


def told(folder):
    """Every line of metrics.jsonl, without rates."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def last_state(folder):
    checkpoints = open_checkpoints(str(folder), higher_is_better=True)
    return checkpoints.restore_as_saved(checkpoints.newest(), replicated(make_mesh({})))


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_equals_undisturbed(tmp_path, capsys, name):
    flags.FLAGS.mark_as_parsed()  # grain's workers ask for it
    killed, whole, config = tmp_path / "killed", tmp_path / "whole", RUNS[name]()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.run(
        [sys.executable, script, name, killed, "6"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert any("val/loss" in line for line in told(killed)) and told(killed)[-1]["step"] == 6
    train.train(config, str(killed))
    resumed = re.search(r"resumed from step (\d) of 8", capsys.readouterr().out)
    assert resumed and int(resumed[1]) in (4, 5, 6)
    train.train(config, str(whole))
    assert told(killed) == told(whole)
    evaluations = [json.loads((f / "evaluation.json").read_text()) for f in (killed, whole)]
    assert evaluations[0] == evaluations[1]
    jax.tree.map(np.testing.assert_array_equal, last_state(killed), last_state(whole))
