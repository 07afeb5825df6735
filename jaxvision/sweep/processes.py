"""main.py in a process of its own, in a workdir where no other one is at work.

A process holds the lock of its workdir for as long as it lives, whoever started it. On Linux it
is told to stop (SIGTERM, on which training saves) when the one that started it dies; elsewhere it
goes on to its end. Either way nothing else is started in its workdir meanwhile.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MAIN = Path(__file__).resolve().parents[2] / "main.py"
LAUNCH = Path(__file__).with_name("launch.py")
OUTPUT = "output.txt"  # in the workdir: what its processes said
LOCK = ".process"
STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGKILL}
RESTARTS = 3  # of a run that something kills again and again where it makes no progress
POLL = 0.2  # seconds


def start(
    workdir: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen | None:
    """Starts main.py in `workdir`, or resumes there; None while another process is at work in it.

    Args:
      workdir: made where it is missing; the output is appended to OUTPUT in it.
      arguments: of main.py, without --workdir.
      environment: changes to this process' own.

    Raises:
      OSError: the folder cannot be made or written.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / LOCK, "a+") as lock, open(workdir / OUTPUT, "ab") as output:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        # Isolated and without packages: it is there at once.
        launch = [
            sys.executable,
            "-I",
            "-S",
            os.fspath(LAUNCH),
            str(lock.fileno()),
            str(os.getpid()),
        ]
        # Alone, whatever a scheduler that started several sweeps says of them.
        main = [sys.executable, os.fspath(MAIN), f"--workdir={workdir}", "--processes=1"]
        # The lock is of the open file, which the process inherits: it is free when the last of
        # those that hold it has ended. Here it is closed again.
        return subprocess.Popen(
            [*launch, *main, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C is for the one that started it to pass on
        )


def was_stopped(code: int) -> bool:
    """Whether a process ended by a signal, not by itself."""
    return code < 0 or code in STOPPED


def last_line(workdir: Path) -> str:
    """The last line that the processes of a workdir wrote; '' before the first."""
    try:
        with open(workdir / OUTPUT, "rb") as file:
            file.seek(max(0, os.path.getsize(workdir / OUTPUT) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def progress(workdir: Path) -> int:
    """The newest checkpoint's step in a workdir; 0 where there is none."""
    steps = (path.name for path in (workdir / "checkpoints").glob("[0-9]*"))
    return max((int(name) for name in steps if name.isdigit()), default=0)


class Restarts:
    """How often a run was killed since it last saved something."""

    def __init__(self):
        self.count, self.reached = 0, -1

    def allowed(self, workdir: Path) -> bool:
        """Counts one more; whether the run may be started again."""
        reached = progress(workdir)
        self.count = self.count + 1 if reached <= self.reached else 0
        self.reached = reached
        return self.count < RESTARTS


def run(workdir: Path, arguments: Sequence[str]) -> None:
    """Runs main.py to its end; starts it again where it is killed.

    Raises:
      RuntimeError: it failed; the message holds the end of its output.
    """
    restarts = Restarts()
    while True:
        process = start(workdir, arguments)
        if process is None:
            time.sleep(POLL)
            continue
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C
            process.terminate()
            process.wait()
            raise
        if code == 0:
            return
        if not was_stopped(code) or not restarts.allowed(workdir):
            told = f"{workdir}: main.py ended with {code}: {last_line(workdir)}"
            raise RuntimeError(f"{told} (see {workdir / OUTPUT})")
