"""Notices that another process is gone, and says which in one line.

Devices that wait for a process which was killed wait for ever, and jax's own client, once it misses
the coordinator, aborts the program with a stack trace. So a thread sends a sign of life through the
coordinator's store and looks for those of the others; what the libraries write goes to a file that
is shown only where they end the program for another reason.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from typing import Any

GONE = 3  # the exit code
GONE_SECONDS = 20.0  # without a sign of life
BEAT_SECONDS = 1.0
GRACE_SECONDS = 3.0  # in which a process may end by itself, for the reason that another told
FATAL = b"JAX distributed service detected fatal errors"  # what jax's client says last
RESUME = "what was saved stays, and the same commands resume"


class _State:
    """What the threads and the signal handler know; one a program."""

    stderr = 2  # where lines for the user go
    log = None  # what the libraries wrote
    lost = ""  # the line where the coordinator is missed
    client, index, names = None, 0, ()
    heard, counts = {}, {}  # process: when it last changed its count; its count
    left = {}  # process: (when this was read, why it ended)
    leaving = None  # the exit code, once this process ends by itself
    stop = threading.Event()
    handler = None  # kept: ctypes does not
    telling = threading.Lock()


def begin(lost: str) -> None:
    """Takes over standard output and error from the libraries.

    Args:
      lost: the line to end with where the coordinator cannot be reached.
    """
    _State.lost = f"error: {lost}"
    _State.stop.clear()
    if _State.handler is None and "NCCL_DEBUG" not in os.environ:  # who sets it wants to read
        _quieten()
    if _State.handler is None:
        _State.handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_aborted)
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
        # Python's own handlers wait for the main thread, which an abort does not.
        libc.signal(signal.SIGABRT, ctypes.cast(_State.handler, ctypes.c_void_p))


def _quieten() -> None:
    """Python's prints go where they went; what C++ writes goes to a file without a name."""
    sys.stdout.flush()
    sys.stderr.flush()
    out, _State.stderr = os.dup(1), os.dup(2)
    _State.log = tempfile.TemporaryFile()  # noqa: SIM115 (until the program ends)
    os.dup2(_State.log.fileno(), 1)
    os.dup2(_State.log.fileno(), 2)
    sys.stdout = os.fdopen(out, "w", buffering=1)
    sys.stderr = os.fdopen(os.dup(_State.stderr), "w", buffering=1)


def others(client: Any, index: int, names: list[str]) -> None:
    """Begins to watch.

    Args:
      client: of the coordinator's store.
      index: of this process.
      names: of all, to be told.
    """
    _State.client, _State.index, _State.names = client, index, names
    _State.lost = f"stopped: {names[0]} is gone; {RESUME}"
    _State.heard = {i: time.monotonic() for i in range(len(names))}
    threading.Thread(target=_beat, daemon=True).start()
    threading.Thread(target=_judge, daemon=True).start()


def end() -> None:
    """Ends watching."""
    _State.stop.set()


def _beat() -> None:
    """Tells that this process lives, and hears the others."""
    client, count = _State.client, 0
    while not _State.stop.wait(BEAT_SECONDS):
        count += 1
        try:
            client.key_value_set(
                f"jaxvision/alive/{_State.index}", str(count), allow_overwrite=True
            )
            counts, left = _listed(client, "alive"), _listed(client, "left")
        except Exception:  # the coordinator does not answer: process 0 falls silent by that
            continue
        now = time.monotonic()
        _State.heard[0] = now if _State.index else _State.heard[0]
        for i, value in counts.items():
            if _State.counts.get(i) != value:
                _State.counts[i], _State.heard[i] = value, now
        for i, line in left.items():
            _State.left.setdefault(i, (now, line))


def _judge() -> None:
    while not _State.stop.wait(BEAT_SECONDS):
        line = _verdict(time.monotonic())
        if line:
            if _State.index == 0:
                _tell(line)
                time.sleep(GRACE_SECONDS)  # the store goes with this process: others read it, too
            _last(line)


def _verdict(now: float) -> str:
    """The line to end with; '' while all is well, and once this process ends by itself."""
    if _State.leaving is not None:
        return ""
    for i, (when, why) in _State.left.items():
        if i != _State.index and now - when > GRACE_SECONDS:
            return f"stopped: {_State.names[i]} ended ({why}); {RESUME}"
    for i, heard in _State.heard.items():
        if i not in _State.left and i != _State.index and now - heard > GONE_SECONDS:
            return f"stopped: {_State.names[i]} is gone, silent for {GONE_SECONDS:.0f} s; {RESUME}"
    return ""


def blame(error: BaseException) -> None:
    """Waits for the verdict, which ends this process, where an error may be another's fault."""
    text = f"{type(error).__name__}: {error}"
    about = ("JaxRuntimeError", "BarrierTimeout", "DEADLINE_EXCEEDED", "UNAVAILABLE", "oordination")
    if "RESOURCE_EXHAUSTED" not in text and any(word in text for word in about):
        time.sleep(GONE_SECONDS + 2 * GRACE_SECONDS + 5)


def leave(line: str, code: int) -> bool:
    """Tells the others why this process ends; whether process 0 ends with the same line."""
    _State.leaving = code
    with contextlib.suppress(Exception):
        _State.client.key_value_set(f"jaxvision/left/{_State.index}", line)
    until = time.monotonic() + GRACE_SECONDS - 1
    while _State.index and time.monotonic() < until:
        if 0 in _State.left:
            return _State.left[0][1] == line
        time.sleep(0.1)
    return False


def _aborted(number: int) -> None:
    """Of SIGABRT: jax's client has missed the coordinator, or a library has failed."""
    if _State.leaving is not None:
        os._exit(_State.leaving)
    written = b""
    if _State.log is not None:
        _State.log.seek(0)
        written = _State.log.read()
    if _State.log is not None and FATAL not in written:
        os.write(_State.stderr, written)
        os._exit(128 + number)
    _last(_verdict(time.monotonic() + GRACE_SECONDS) or _State.lost)


def _tell(line: str) -> None:
    if _State.telling.acquire(blocking=False):
        os.write(_State.stderr, f"{line}\n".encode())


def _last(line: str) -> None:
    _tell(line)
    exit_now(2 if line.startswith("error: ") else GONE)


def exit_now(code: int) -> None:
    """Ends the process and those that decode for it, without waiting for anything."""
    for child in multiprocessing.active_children():
        child.kill()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _listed(client: Any, folder: str) -> dict[int, str]:
    """{process: what it has set} in a folder of the store."""
    entries = client.key_value_dir_get(f"jaxvision/{folder}/")
    return {int(key.rsplit("/", 1)[-1]): value for key, value in entries}
