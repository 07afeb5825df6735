"""Kills a training run again and again, and shows that it ends as if nothing had happened.

python -m benchmarks.crash_resume --kills=20

A tiny U-Net is trained twice with the same command: once undisturbed, and once killed with SIGKILL
at random moments and started again each time. The last checkpoint of both must be equal bit for
bit, and so must every logged metric. Exit code 1 where they are not.

Half the moments are uniform over the time that the first step takes to come (start-up, building
the model, compiling, restoring), half over the steps and saves after it. The disturbed run begins
with an empty cache, so that kills may also hit the writing of decoded data and compiled programs.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks.startup import FIRST_STEP
from benchmarks.timing import ROOT, machine, write_result
from jaxvision.checkpoint import open_checkpoints

FLAGS = flags.FLAGS

CONFIG = (
    "--config=configs/unet.py",
    "--config.model.encoder.name=mobilenet_v2_tiny",
    "--config.model.decoder_widths=(8,8,8,8,8)",
    "--config.data.image_size=64",
    "--config.data.synthetic_examples.train=16",
    "--config.data.synthetic_examples.val=4",
    "--config.data.synthetic_examples.test=4",
    "--config.batch_size=4",
    "--config.train.ema_decay=0.9",
    "--config.checkpoint.every_steps=5",
    "--config.log.every_steps=5",
    "--config.eval.every_epochs=25",  # of 4 steps
)
POLL = 0.02  # seconds between looks at the log of a run
PROGRESS = 0.9  # of the run, that the kills among its steps let pass at most


class Trainer(NamedTuple):
    """One process that trains, and its log file."""

    process: subprocess.Popen
    log: Path
    started: float  # time.time()

    def has_said(self, text: str) -> bool:
        """Whether a line of the log begins with `text`."""
        return any(line.startswith(text) for line in self.log.read_text().splitlines())

    def step(self) -> int:
        """The last step in the log; 0 before the first."""
        lines = self.log.read_text().splitlines()
        steps = [line.split()[1].split("/")[0] for line in lines if line.startswith("step ")]
        return int(steps[-1]) if steps else 0

    def wait(self, seconds: float, limit: float, extra: float) -> None:
        """Waits so long; less where the machine is faster than it was.

        Args:
          seconds: at most.
          limit: steps after which the wait is cut short.
          extra: seconds to go on after that.
        """
        end, cut = time.time() + seconds, False
        while time.time() < end:
            if not cut and self.has_said(FIRST_STEP) and self.step() >= limit:
                end, cut = min(end, time.time() + extra), True
            time.sleep(POLL)

    def seconds_until(self, text: str) -> float | None:
        """Waits for a line; seconds since the start, None where the process ended without it."""
        while not self.has_said(text):
            if self.process.poll() is not None and not self.has_said(text):
                return None
            time.sleep(POLL)
        return time.time() - self.started


class Kill(NamedTuple):
    """One kill: what the process was doing, and what was left.

    Attributes:
      seconds: since the process' start.
      moment: 'start-up', 'building, compiling or restoring', 'steps', or 'steps, while saving'.
      newest: the newest checkpoint's step; 0 where there is none.
    """

    seconds: float
    moment: str
    newest: int


def launch(folder: Path, steps: int, number: int) -> Trainer:
    """Starts, or resumes, the run in `folder`; `number` names its log."""
    log, workdir = folder / f"log_{number}.txt", folder / "run"
    command = [sys.executable, "main.py", *CONFIG, f"--config.train.steps={steps}"]
    environment = {**os.environ, "JAXVISION_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    with open(log, "w") as file:
        started = time.time()
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Trainer(process, log, started)


def finish(trainer: Trainer) -> None:
    """Waits for a run's end.

    Raises:
      RuntimeError: it failed; the message holds the end of its log.
    """
    if trainer.process.wait() != 0:
        raise RuntimeError(f"main.py failed:\n{trainer.log.read_text()[-3000:]}")


def undisturbed(folder: Path, steps: int) -> tuple[float, float]:
    """Trains from start to end; seconds to the first step, and from there to the last."""
    trainer = launch(folder, steps, 0)
    first = trainer.seconds_until(FIRST_STEP)
    last = trainer.seconds_until(f"step {steps}/")
    finish(trainer)
    return first, last - first


def disturbed(
    folder: Path, rng: random.Random, kills: int, steps: int, first: float, stepping: float
) -> list[Kill]:
    """Kills the run `kills` times, then lets it finish.

    Args:
      folder: of the run.
      rng: of the moments.
      kills, steps: how often, and of how many steps.
      first: seconds to the first step, to begin with; then what was seen last.
      stepping: seconds that all steps take, undisturbed.

    Raises:
      RuntimeError: a process failed by itself, or was done before its kill came.
    """
    done, kept = [], 0
    share = PROGRESS / max(1, kills // 2)
    for number in range(kills):
        trainer = launch(folder, steps, number)
        if number % 4 in (1, 2):
            # The second time the cache is full, so a start takes as long as it will from then on.
            first = trainer.seconds_until(FIRST_STEP) or first
            # Where the limit cuts it short, not always at the step that is about to be saved.
            extra = rng.uniform(0, 5 * stepping / steps)
            trainer.wait(rng.uniform(0, share * stepping), kept + share * steps, extra)
        else:
            trainer.wait(rng.uniform(0, first), 0, rng.uniform(0, 1))
        done.append(kill(trainer, folder / "run" / "checkpoints"))
        seconds, moment, kept = done[-1]
        print(f"kill {number + 1}: after {seconds:.1f} s, {moment}; kept: {kept}", flush=True)
    finish(launch(folder, steps, kills))
    return done


def kill(trainer: Trainer, checkpoints: Path) -> Kill:
    """Sends SIGKILL and looks at what is left.

    Raises:
      RuntimeError: the process was no longer running.
    """
    if trainer.process.poll() is not None:
        end = trainer.log.read_text()[-3000:]
        raise RuntimeError(f"the run ended before it was killed; more --steps?\n{end}")
    trainer.process.kill()
    seconds = time.time() - trainer.started
    trainer.process.wait()
    unfinished = [p for p in checkpoints.glob("*tmp*") if p.stat().st_mtime >= trainer.started]
    if not trainer.has_said("devices:"):
        moment = "start-up"
    elif not trainer.has_said(FIRST_STEP):
        moment = "building, compiling or restoring"
    else:
        moment = "steps, while saving" if unfinished else "steps"
    saved = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    return Kill(seconds, moment, max(saved, default=0))


def final(folder: Path) -> dict[str, np.ndarray]:
    """{path: array} of the newest checkpoint: the whole train state and the step's number."""
    checkpoints = open_checkpoints(str(folder / "run"), higher_is_better=True)
    step = checkpoints.newest()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaves = jax.tree_util.tree_leaves_with_path(checkpoints.restore_as_saved(step, here))
    named = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return {**named, "checkpoint": np.asarray(step)}


def logged(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl, without the rate, which is never the same."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def differences(a: Path, b: Path) -> tuple[list[str], dict[str, int]]:
    """What differs between two finished runs, and how much was compared."""
    one, other = final(a), final(b)
    wrong = [f"only one run saved {name}" for name in sorted(one.keys() ^ other.keys())]
    for name in one.keys() & other.keys():
        x, y = one[name], other[name]
        if (x.dtype, x.shape, x.tobytes()) != (y.dtype, y.shape, y.tobytes()):
            wrong.append(f"{name} differs")
    rows, others = logged(a), logged(b)
    if len(rows) != len(others):
        wrong.append(f"{len(rows)} lines of metrics against {len(others)}")
    wrong += [f"metrics: {x} against {y}" for x, y in zip(rows, others, strict=False) if x != y]
    losses = sum("train/loss" in row for row in rows)
    numbers = sum(array.size for array in one.values())
    compared = {"arrays": len(one), "numbers": numbers, "lines": len(rows), "losses": losses}
    for part in ("params", "opt_state", "ema", "extra"):
        compared[part] = sum(name.startswith(f"['{part}']") for name in one)
    return wrong, compared


def main(argv: list[str]) -> None:
    """Runs, compares, prints and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells its settings
    with tempfile.TemporaryDirectory() as name:
        calm, killed = Path(name) / "undisturbed", Path(name) / "killed"
        for folder in (calm, killed):
            folder.mkdir()
        first, stepping = undisturbed(calm, FLAGS.steps)
        print(
            f"undisturbed: first step after {first:.1f} s, all steps in {stepping:.1f} s more",
            flush=True,
        )
        rng = random.Random(FLAGS.seed)
        done = disturbed(killed, rng, FLAGS.kills, FLAGS.steps, first, stepping)
        wrong, compared = differences(calm, killed)
    moments = Counter(kill.moment for kill in done)
    verdict = "EQUAL, bit for bit" if not wrong else f"DIFFERENT: {'; '.join(wrong[:5])}"
    print(f"{len(done)} kills ({', '.join(f'{n} in {m}' for m, n in moments.items())})")
    print(f"compared {compared}: {verdict}")
    result = {"machine": machine(), "equal": not wrong, "differences": wrong, "compared": compared}
    kills = [kill._asdict() for kill in done]
    write_result(FLAGS.out, {**result, "moments": moments, "kills": kills})
    sys.exit(1 if wrong else 0)


def define_flags() -> None:
    """Not on import: the benchmarks share names, and tests import several."""
    flags.DEFINE_integer("kills", 20, "How often the run is killed.")
    flags.DEFINE_integer("steps", 300, "Length of the run.")
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_string("out", "benchmarks/results/crash_resume_cpu.json", "Result file.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
