"""What every benchmark needs: rounds in turn, and a record of the machine that ran them."""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "torch")


class Contestant(NamedTuple):
    """Something whose rate is measured.

    Attributes:
      run: run(n) does n pieces of work or a few more, waits until they are done, and returns how
        many pieces it did.
      warm_up: pieces done before each turn, untimed: the others' data has left the caches, and
        batches that were decoded meanwhile would be a head start.
    """

    run: Callable[[int], int]
    warm_up: int = 1


def in_turn(
    contestants: dict[str, Contestant], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Rates of several contestants, measured in turn so that a slow moment hits all of them.

    Args:
      contestants: by name.
      rounds: how often each has its turn.
      seconds: about how long a turn is.

    Returns:
      {name: pieces a second, one value a round}.
    """
    counts = {name: _pieces(contestant, seconds) for name, contestant in contestants.items()}
    rates = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            contestant.run(contestant.warm_up)
            rates[name].append(_rate(contestant, counts[name]))
    return rates


def _pieces(contestant: Contestant, seconds: float) -> int:
    """How many pieces take about `seconds`; compiles on the way."""
    contestant.run(contestant.warm_up)
    count, rate = 1, _rate(contestant, 1)
    while count / rate < seconds / 4:  # a single piece would tell too little
        count = math.ceil(rate * seconds / 2)
        rate = _rate(contestant, count)
    return max(1, math.ceil(rate * seconds))


def _rate(contestant: Contestant, count: int) -> float:
    start = time.perf_counter()
    done = contestant.run(count)
    return done / (time.perf_counter() - start)


def medians(rates: dict[str, list[float]]) -> dict[str, float]:
    """{name: median rate}."""
    return {name: float(np.median(values)) for name, values in rates.items()}


def machine() -> dict:
    """The date, the command, the machine and the versions behind a result; JSON-able."""
    devices = jax.local_devices()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "commit": _commit(),
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def peak_rss_gib(pid: int) -> float:
    """Resident memory of a process at its largest so far; nan where there is no /proc."""
    # Not resource.getrusage: its maximum is inherited from whoever started the process.
    status = Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    return math.nan


def write_result(path: str | Path, result: dict) -> None:
    """Writes a result as JSON and says where."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path}", flush=True)


def _module() -> str:
    path = Path(sys.argv[0])
    return f"benchmarks.{path.parent.name if path.stem == '__main__' else path.stem}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _commit() -> str:
    """The commit, with '-dirty' where files differ from it; 'unknown' outside a checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
