"""Sweeps whose trials are tests/sweep/fake_main.py."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

from jaxvision.sweep import __main__ as command
from jaxvision.sweep import loop, processes, run
from tests.sweep.fake_main import is_alive

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CONFIG = "--config=configs/rat.py"
RATE = "--search.optimizer.learning_rate=log:1e-4:5e-3"


def use_fakes(monkeypatch):
    """Sweeps of this process start the fake, and look around often."""
    monkeypatch.setattr(processes, "MAIN", HERE / "fake_main.py")
    monkeypatch.setattr(run, "check_metric", lambda arguments: None)
    monkeypatch.setattr(loop, "POLL", 0.02)
    monkeypatch.setattr(loop, "LOOK", 0.1)


def sweep(capfd, workdir, *arguments):
    """A sweep in this process: (exit code, stdout, lines of stderr)."""
    capfd.readouterr()
    code = command.main([CONFIG, f"--workdir={workdir}", *arguments])
    out, err = capfd.readouterr()
    return code, out, [line for line in err.splitlines() if line.strip()]


def launch(workdir, *arguments, **environment):
    """The same in a process of its own."""
    program = [sys.executable, "-m", "tests.sweep.fake_sweep"]
    return subprocess.Popen(
        [*program, CONFIG, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def table(workdir):
    """trials.csv, by the trials' numbers."""
    with open(Path(workdir) / "trials.csv", newline="") as file:
        return {int(row["trial"]): row for row in csv.DictReader(file)}


def wait_for(condition, seconds=60.0):
    """Returns what `condition()` gives once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError("it never came to be")


def steps(folder):
    """The steps that the runs of a trial did, in order."""
    path = Path(folder) / "steps.txt"
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def at_work(workdir):
    """{trial: process} of the fakes that are at work."""
    found = {}
    for path in Path(workdir).glob("trials/*/at_work"):
        number = path.read_text()
        if number and is_alive(number):
            found[int(path.parent.name)] = int(number)
    return found
