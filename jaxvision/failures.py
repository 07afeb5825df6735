"""What ends a program early, whatever it was doing, as one line and an exit code."""

import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from jaxvision.errors import UserError

USER, STOPPED, INTERRUPTED = 2, 1, 128 + signal.SIGINT
# Seconds in which the same signal again is the first one still: a scheduler signals a group and its
# members, and Linux tells a child once for each thread of the parent that dies.
AGAIN = 1.0
CUT_OFF = "cut off at the end"  # name of threads that the program's end does not wait for
# The extra that brings a package, by the package's name in an import.
EXTRAS = {
    "av": "video",
    "cv2": "faces",
    "h5py": "tracks",
    "keras": "pretrained",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openskill": "votes",
    "optuna": "sweep",
    "pyarrow": "parquet",
    "rasterio": "geo",
    "ray": "cluster",
    "shapely": "geo",
    "tensorflow": "tf",
    "tensorflow_datasets": "tf",
    "wandb": "wandb",
}


class Terminated(BaseException):
    """SIGTERM came where nothing was to be saved."""


KNOWN = (Exception, KeyboardInterrupt, Terminated)


def told(error: BaseException) -> tuple[int, str]:
    """(exit code, line) of an error that a user can do something about; raises any other again."""
    if isinstance(error, UserError):
        return USER, f"error: {_one_line(error)}"
    if isinstance(error, FloatingPointError):
        return STOPPED, f"stopped: {_one_line(error)}"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "stopped: interrupted; what was saved before stays"
    if isinstance(error, Terminated):
        return 128 + signal.SIGTERM, "stopped: terminated; what was saved before stays"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return USER, f"error: not enough memory{_memory(error)}: lower batch_size or the image size"
    if isinstance(error, BrokenPipeError):  # of `main.py ... | head`; nothing more can be printed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (what exit flushes)
        return 128 + signal.SIGPIPE, "stopped: the output was closed"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; make room: what was saved before stays, and the same command resumes"
        return USER, f"error: {where}{_one_line(error.strerror or error)}{remedy if full else ''}"
    package = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ImportError) and package in EXTRAS:
        extra = EXTRAS[package]
        return USER, f'error: {package} is not installed: pip install -e ".[{extra}]"'
    raise error


def listen() -> None:
    """Ctrl-C and SIGTERM raise, so that what is open is closed; for a program's main thread."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminate)


@contextlib.contextmanager
def remembered_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are appended to; a second one ends the process at once.

    It is a second one where it comes more than AGAIN seconds after the first. Where this is not the
    main thread, signals are another's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    received, timers = [], []

    def remember(number, frame):
        received.append(number)
        signal.signal(number, _ignore)
        timers.append(threading.Timer(AGAIN, _end_by, (number,)))
        timers[-1].daemon = True
        timers[-1].start()

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number, frame) -> None:
    """Unlike SIG_IGN, it is not handed on to the processes that are started meanwhile."""


def _end_by(number: int) -> None:
    """A signal ends the process at once; `signal.signal` is for the main thread alone."""
    ctypes.pythonapi.PyOS_setsig(number, None)


def end(code: int) -> NoReturn:
    """Ends the program with an exit code, as `sys.exit`.

    Where a thread called CUT_OFF is still at work it ends without Python's own end: a thread that
    XLA compiles in comes back from there to an interpreter that is no more, and takes the process
    and its exit code with it.
    """
    if any(thread.name == CUT_OFF for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def last_word(line: str) -> None:
    """Writes the line that a program ends with to stderr, and lets nothing follow it.

    Threads of a library that were cut off with their work (a checkpoint that could not be written)
    print tracebacks of their own while Python ends.
    """
    if line:
        print(line, file=sys.stderr, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _memory(error: BaseException) -> str:
    text = _one_line(error).removeprefix("RESOURCE_EXHAUSTED: ")
    return f" ({text[:120]})" if text else ""
