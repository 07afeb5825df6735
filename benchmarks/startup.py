"""How long a user waits from the command to the first finished step.

python -m benchmarks.startup
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.timing import ROOT, machine, peak_rss_gib, write_result

FIRST_STEP = "first step after"  # begins the line of train.py once a step is done
CONFIGS = "unet,fer,perception,rat,ram"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", default=CONFIGS, help="of configs/, with commas")
    parser.add_argument("--name", default="now", help="of these figures in the file; others stay")
    parser.add_argument("--out", default=ROOT / "benchmarks" / "results" / "startup_cpu.json")
    options = parser.parse_args()
    starts = {}
    for config in options.configs.split(","):
        starts[config] = measure([f"--config=configs/{config}.py"])
        told = ", ".join(
            f"{kind} {start['seconds']:.1f} s" for kind, start in starts[config].items()
        )
        print(f"{config}: {told}", flush=True)
    path = Path(options.out)
    kept = json.loads(path.read_text()) if path.exists() else {}
    starts = {**kept.get(options.name, {}).get("starts", {}), **starts}
    write_result(path, {**kept, options.name: {"starts": starts, **machine()}})


if __name__ == "__main__":
    main()
