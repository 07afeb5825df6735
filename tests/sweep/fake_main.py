"""Looks like main.py to a sweep and takes no time: its score follows from the learning rate.

Saves after every step, so that each step is done once however often it is killed. What it does is
written beside its workdir's files: steps.txt (a line a step), and overlap.txt should another
process ever be at work in the same workdir.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from jaxvision import failures


def main():
    arguments = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    workdir = Path(arguments["workdir"])
    rate = float(arguments["config.optimizer.learning_rate"])
    seed = int(arguments.get("config.seed", 0))
    steps = int(arguments.get("config.train.steps", 20))
    pause = float(os.environ.get("FAKE_PAUSE", "0.02"))
    (workdir / "arguments.json").write_text(json.dumps(sys.argv[1:]))
    fail(rate)
    at_work = workdir / "at_work"
    note_overlap(workdir, at_work)
    with failures.remembered_signals() as stopped:
        for step in range(last_step(workdir) + 1, steps + 1):
            time.sleep(pause)
            save(workdir, step, (math.log10(rate) + 3) ** 2 + 1 / step + 0.1 * seed)
            if stopped:
                end(at_work, f"{signal.Signals(stopped[0]).name}: saved step {step}")
                sys.exit(128 + stopped[0])
        end(at_work, "results: all there")


def last_step(workdir):
    return max((int(p.name) for p in (workdir / "checkpoints").glob("*")), default=0)


def save(workdir, step, score):
    with open(workdir / "steps.txt", "a") as file:
        file.write(f"{step} {os.getpid()}\n")
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "val/mean_pixel_error": score}) + "\n")
    (workdir / "checkpoints" / str(step)).mkdir(parents=True)


def end(at_work, said):
    """Who sees it at work no longer finds what it said."""
    print(said, flush=True)
    at_work.unlink()


def note_overlap(workdir, at_work):
    """Where the process that is noted as being at work is alive, there are two."""
    if at_work.exists() and is_alive(at_work.read_text()):
        (workdir / "overlap.txt").write_text(f"{at_work.read_text()} {os.getpid()}")
    at_work.write_text(str(os.getpid()))


def is_alive(process):
    """Whether a process is, and is no zombie that nobody has waited for."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def fail(rate):
    """Some rates end badly."""
    if 0.0055 < rate < 0.0065:
        print("stopped: loss or gradient of step 3 is not finite", file=sys.stderr)
        sys.exit(1)
    if 0.0075 < rate < 0.0085 and "FAKE_MEMORY" not in os.environ:
        print("error: not enough memory: lower batch_size or the image size", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
