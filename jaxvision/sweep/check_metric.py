"""Whether a config's data can be read and its model gives its metric: a process of its own.

python -m jaxvision.sweep.check_metric --config=configs/rat.py

Jax and the data then take no memory for as long as the sweep lasts.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from jaxvision import failures
from jaxvision.errors import UserError
from jaxvision.sweep.command import parse_config


def check_metric(config_arguments: Sequence[str]) -> None:
    """Checks it in a process of its own.

    Raises:
      UserError: as training would.
    """
    done = subprocess.run(
        [sys.executable, "-m", "jaxvision.sweep.check_metric", *config_arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode in (failures.INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the check ended with {done.returncode}"]
        raise UserError(lines[-1].removeprefix("error: "))


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    from jaxvision.training.run import check_best_metric

    try:
        check_best_metric(parse_config(arguments))
    except failures.KNOWN as error:
        code, line = failures.told(error)
        print(line, file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
