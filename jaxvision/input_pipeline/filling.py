"""A split whose rows can be had while the others are still being decoded."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait

import numpy as np


class Filling:
    """The arrays of a split, on the host, in the making.

    Args:
      order: every row once, those first that are wanted first.
      programs: what must be compiled before any row is of use. To decode beside it would not save
        time, but cost some: both want all cores, and what traces and what draws Python's lock.
    """

    def __init__(self, order: Sequence[int], programs: Future | None = None):
        self.order, self.programs, self.arrays = order, programs, {}
        self.there, self.changed = np.zeros(len(order), bool), threading.Condition()

    def begin(self, arrays: dict[str, np.ndarray]) -> None:
        """{name: [N, ...]}, which are about to be filled; returns when that may begin."""
        self.arrays = arrays
        if self.programs:
            wait([self.programs])

    def add(self, row: int) -> None:
        """This row is there now."""
        with self.changed:
            self.there[row] = True
            self.changed.notify_all()

    def wait(self, rows: np.ndarray, whole: Future) -> dict[str, np.ndarray] | None:
        """A copy of the arrays once they hold `rows`, whatever else they hold.

        None once `whole`, what is made of all rows, is there, or failed.
        """
        whole.add_done_callback(self._wake)
        with self.changed:
            self.changed.wait_for(lambda: whole.done() or self.there[rows].all())
        if whole.done():
            return None
        return {name: array.copy() for name, array in self.arrays.items()}

    def _wake(self, whole: Future) -> None:
        with self.changed:
            self.changed.notify_all()
