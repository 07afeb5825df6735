"""Becomes another program that holds a lock and ends with its parent: launch.py LOCK PARENT ARGV...

A program of its own, run by its path, rather than code between fork and exec: the parent may have
threads (jax's) that a fork would leave in the middle of something.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux; kept over exec


def main(lock: int, parent: int, argv: list[str]) -> None:
    """Writes this process' number into the lock's file, and is `argv` from then on."""
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # which died before it could be asked for
            sys.exit(128 + signal.SIGTERM)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
