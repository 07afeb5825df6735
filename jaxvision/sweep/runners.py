"""Which of those that work on a study are alive: on this host by a lock, on others by a pulse."""

import fcntl
import os
import secrets
import socket
import time
from pathlib import Path

import optuna

PULSE = 20.0  # seconds between beats
SILENCE = 120.0  # seconds without one after which a runner of another host is dead
_BEAT = "beat "


def _boot() -> str:
    """Changes with the host and its start: locks reach as far."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
    except OSError:
        return f"{socket.gethostname()}-host"


class Runner:
    """This process among those that work on a study."""

    def __init__(self, study: optuna.Study, folder: Path):
        """Args: the study; the sweep's folder, where the runners of this host hold their locks."""
        self.study, self.folder = study, folder / "runners"
        self.host = socket.gethostname()
        self.name = f"{self.host}/{_boot()}/{os.getpid()}-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self._path(self.name), "w")  # noqa: SIM115 (held until close)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.beats, self.last = 0, -PULSE
        self.seen: dict[str, tuple[int, float, bool]] = {}  # beat, since when, was there another

    def _path(self, name: str) -> Path:
        return self.folder / name.replace("/", "_")

    def beat(self) -> bool:
        """Tells the others that this one lives, where it is time to; whether it was."""
        if time.monotonic() - self.last < PULSE:
            return False
        self.last, self.beats = time.monotonic(), self.beats + 1
        self.study.set_user_attr(_BEAT + self.name, self.beats)
        return True

    def is_alive(self, name: str | None, number: int) -> bool | None:
        """Whether the runner of a trial is; None: not known yet.

        Args:
          name: of the runner; '': nobody; None: one that has not said its name, yet or ever.
          number: of the trial.
        """
        if name in ("", self.name):
            return name == self.name
        if name is not None and name.split("/")[1] == _boot() and self._path(name).exists():
            return self._holds_lock(name)
        beat = self.study.user_attrs.get(_BEAT + name, 0) if name else 0
        # Beats are counted, since clocks of hosts differ.
        key = name or f"of trial {number}"
        before, since, moved = self.seen.get(key, (beat, time.monotonic(), False))
        if beat != before:
            since, moved = time.monotonic(), True
        self.seen[key] = beat, since, moved
        if time.monotonic() - since > SILENCE:
            return False
        return True if moved else None

    def _holds_lock(self, name: str) -> bool:
        with open(self._path(name)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def is_alone(self) -> bool:
        """Whether no other host ever worked on this study."""
        names = [key.removeprefix(_BEAT) for key in self.study.user_attrs if key.startswith(_BEAT)]
        return all(name.split("/")[1] == _boot() for name in names)

    def close(self) -> None:
        """Lets the lock go; its file stays, and tells that this runner has ended."""
        self.lock.close()
