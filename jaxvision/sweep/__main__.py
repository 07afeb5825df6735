"""python -m jaxvision.sweep: searches the fields of a config (docs/sweeps.md)."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence

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

        with _signals() as stopped:
            return run_sweep(asked, stopped)
    except failures.KNOWN as error:
        code, line = failures.told(error)
        print(line, file=sys.stderr)
        return code


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are appended to; a second one ends the process at once."""
    received = []

    def remember(number, frame):
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
