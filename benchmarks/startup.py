"""How long a user waits from the command to the first finished step."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.timing import ROOT, peak_rss_gib

FIRST_STEP = "first step after"  # begins the line of train.py once a step is done


def measure(config_flags: list[str], limit: float = 600.0) -> dict[str, dict[str, float]]:
    """Starts `main.py` twice: with an empty cache, then with the cache that this filled.

    The cache holds compiled programs and decoded data; the built-in data is drawn on the way.

    Args:
      config_flags: the `--config...` arguments.
      limit: seconds after which a start is given up.

    Returns:
      {'cold' and 'cached': see `first_step`}.
    """
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: first_step(config_flags, Path(folder) / name, Path(folder) / "cache", limit)
            for name in ("cold", "cached")
        }


def first_step(
    config_flags: list[str], workdir: Path, cache: Path, limit: float
) -> dict[str, float]:
    """Trains until the first step is done, then kills the process.

    Returns:
      seconds: from the process' start to the end of the first call of steps.
      data_seconds: from the start until the examples are found (before they are decoded).
      peak_rss_gib: memory of the process at its largest.

    Raises:
      RuntimeError: the process ended before, or took `limit` seconds; the message holds its last
        lines.
    """
    command = [sys.executable, "main.py", *config_flags, f"--workdir={workdir}"]
    environment = {**os.environ, "JAXVISION_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # which would not be cold
    start, found, lines = time.perf_counter(), {}, []
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    given_up = threading.Timer(limit, process.kill)
    given_up.start()
    with process:
        try:
            for line in process.stdout:
                lines.append(line)
                passed = time.perf_counter() - start
                if line.startswith("data: "):
                    found["data_seconds"] = passed
                if line.startswith(FIRST_STEP):
                    found |= {"seconds": passed, "peak_rss_gib": peak_rss_gib(process.pid)}
                    return found
        finally:
            given_up.cancel()
            process.kill()
    raise RuntimeError("main.py ended before its first step:\n" + "".join(lines[-20:]))
