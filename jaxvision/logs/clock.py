"""How fast a training is."""

import math
import time


class Clock:
    """Steps a second since it was last read, pauses left out."""

    def __init__(self):
        self._begun = self._step = None

    def start(self, step: int) -> None:
        """Begins at `step`, unless it is running."""
        if self._begun is None:
            self._begun, self._step = time.perf_counter(), step

    def pause(self) -> None:
        """Stops; what has not been read is not counted."""
        self._begun = None

    def seconds(self) -> float:
        """Since it began or was last read; inf where it does not run."""
        return math.inf if self._begun is None else time.perf_counter() - self._begun

    def rate(self, step: int) -> float | None:
        """Reads it, and begins anew at `step`; None where it did not run, or for no step."""
        seconds, steps = self.seconds(), step - (self._step or 0)
        self._begun, self._step = time.perf_counter(), step
        return steps / seconds if steps > 0 and seconds < math.inf else None
