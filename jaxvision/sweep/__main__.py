"""python -m jaxvision.sweep: searches the fields of a config (docs/sweeps.md)."""

import sys
from collections.abc import Sequence

from jaxvision import failures
from jaxvision.sweep import command


def main(argv: Sequence[str]) -> int:
    """Runs and returns the exit code, which docs/troubleshooting.md lists."""
    try:
        if command.wants_help(argv):
            print(command.HELP, flush=True)
            return 0
        asked = command.parse(argv)
        from jaxvision.sweep.run import run_sweep  # and Optuna, which may not be installed

        with failures.remembered_signals() as stopped:
            return run_sweep(asked, stopped)
    except failures.KNOWN as error:
        code, line = failures.told(error)
        print(line, file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
