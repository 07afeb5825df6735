"""Whole trainings by `main.py`: how many seconds a recipe needs to be how good."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import ROOT
from jaxvision.workdir import write_json

POLL = 0.1  # seconds between two looks at a run's metrics
JUDGING = 45.0  # seconds kept back for the test split of a run that does not come to its end
STOPPED = (143, -15)  # exit codes of a training that was told to stop and has saved


class Recipe(NamedTuple):
    """A training.

    Attributes:
      flags: of `main.py`, without data.
      quick: further ones, for seconds on a CPU.
      metric: in metrics.jsonl.
      target: what it is to reach.
      higher: whether more is better.
    """

    flags: tuple[str, ...]
    quick: tuple[str, ...]
    metric: str
    target: float
    higher: bool


RECIPES = {
    "mnist": Recipe(
        ("--config=configs/ram.py:mnist", "--config.eval.every_epochs=2"),
        ("--config.train.steps=40", "--config.eval.every_epochs=1", "--config.data.image_size=28"),
        "val/error",
        0.01,
        higher=False,
    ),
    "fer": Recipe(
        # A checkpoint of vgg_face is half a gigabyte: not after every epoch.
        ("--config=configs/fer.py:vgg_face", "--config.eval.every_epochs=5"),
        (
            "--config.model.encoder.name=cnn_tiny",
            "--config.model.hidden=(8,)",
            "--config.data.synthetic_examples.train=64",
            "--config.data.synthetic_examples.val=32",
            "--config.data.synthetic_examples.test=32",
            "--config.eval.every_epochs=1",
            "--config.train.steps=3",
        ),
        "val/accuracy",
        0.733,
        higher=True,
    ),
}


def run(recipe: Recipe, workdir: Path, data: str, quick: bool, limit: float) -> dict[str, Any]:
    """Trains, or goes on, for up to `limit` seconds; JSON-able.

    Times are seconds since the start of the process, imports and compilation included; those of
    earlier starts are added.

    Raises:
      RuntimeError: the training ended with an error; the message holds its last lines.
    """
    workdir.parent.mkdir(parents=True, exist_ok=True)
    flags = [*recipe.flags, *(recipe.quick if quick else ()), f"--workdir={workdir}"]
    flags += [f"--config.data.path={data}"] if data else []
    clock = workdir.with_name(f"{workdir.name}_seconds.json")
    before = json.loads(clock.read_text()) if clock.exists() else {"spent": 0.0, "curve": []}
    judging = JUDGING if limit > 3 * JUDGING else 0.0
    code, seen = _train(flags, workdir, clock, before, recipe.metric, limit - judging)
    if code not in (0, *STOPPED):
        raise RuntimeError(f"main.py ended with {code}:\n{_tail(workdir)}")
    if code and judging:
        evaluate = [sys.executable, "main.py", "--mode=evaluate", f"--workdir={workdir}"]
        subprocess.run(evaluate, cwd=ROOT, timeout=2 * JUDGING, capture_output=True, check=True)
    return _result(recipe, workdir, seen, finished=code == 0)


def _train(
    flags: list[str], workdir: Path, clock: Path, seen: dict, metric: str, limit: float
) -> tuple[int, dict]:
    """Runs main.py and notes when each value of the metric came: (exit code, {spent, curve})."""
    start, before = time.perf_counter(), seen["spent"]
    with open(_log(workdir), "a") as log:
        process = subprocess.Popen(
            [sys.executable, "main.py", *flags], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            told = False
            while process.poll() is None:
                time.sleep(POLL)
                passed = time.perf_counter() - start
                seen = _look(workdir, metric, {**seen, "spent": before + passed})
                write_json(clock, seen)
                if passed > limit and not told:
                    process.terminate()
                    told = True
        finally:
            process.kill()
    return process.returncode, _look(workdir, metric, seen)


def _look(workdir: Path, metric: str, seen: dict[str, Any]) -> dict[str, Any]:
    """`seen` with the values that have come since."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if metric in line and line.endswith("}")]
    known = {step for _, step, _ in seen["curve"]}
    new = [[seen["spent"], row["step"], row[metric]] for row in rows if row["step"] not in known]
    return {**seen, "curve": [*seen["curve"], *new]}


def _result(recipe: Recipe, workdir: Path, seen: dict[str, Any], finished: bool) -> dict[str, Any]:
    sign = 1 if recipe.higher else -1
    reached = [s for s, _, value in seen["curve"] if sign * value >= sign * recipe.target]
    evaluation = workdir / "evaluation.json"
    test = json.loads(evaluation.read_text())["metrics"] if evaluation.exists() else {}
    name = recipe.metric.split("/")[1]
    best = max((sign * value for _, _, value in seen["curve"]), default=None)
    told = f"{seen['spent']:.0f} s, best {recipe.metric} {sign * best:.4f}" if best else "no value"
    told += f", test {name} {test[name]:.4f}" if name in test else ""
    told += f", {recipe.target} after {reached[0]:.1f} s" if reached else ""
    return {
        "metric": recipe.metric,
        "target": recipe.target,
        "seconds_to_target": reached[0] if reached else None,
        "seconds_in_all": seen["spent"],
        "curve": seen["curve"],  # [seconds, step, value]
        "test": test,
        "unfinished": not finished,
        "told": told,
    }


def _log(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.log")


def _tail(workdir: Path) -> str:
    return "\n".join(_log(workdir).read_text().splitlines()[-15:])
