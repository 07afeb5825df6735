"""What has been measured so far, in a JSON file that every cell is added to, and the time left.

A cell is done once: a second start goes on with those that are missing.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError
from jaxvision.workdir import write_json

TRIES = 2  # a cell that twice took the process with it is left out


class Cell(NamedTuple):
    """A measurement.

    Attributes:
      key: its name in the file, 'part/system/precision'.
      measure: (seconds that are left) -> JSON-able; {'unfinished': True, ...} to be called again.
    """

    key: str
    measure: Callable[[float], dict[str, Any]]


class Part(NamedTuple):
    """Cells that share a budget, in minutes."""

    name: str
    minutes: float
    cells: list[Cell]


class Record:
    """The file; `about` says what must not differ between two starts."""

    def __init__(self, path: str | Path, about: dict[str, Any], machine: dict[str, Any]):
        """Reads the file where there is one.

        Raises:
          UserError: it is of another device or other options, or no JSON.
        """
        self.path = Path(path)
        self.data = {"about": about, "starts": [], "cells": {}, "begun": {}}
        if self.path.exists():
            try:
                self.data = json.loads(self.path.read_text())
            except ValueError as error:
                raise UserError(f"{path} is no JSON ({error}): delete it, or --out=") from error
            if self.data.get("about") != about:
                raise UserError(
                    f"{path} holds {self.data.get('about')}, this start is {about}: give another "
                    "--out, or delete it"
                )
        self.data["starts"].append(machine)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def done(self, key: str) -> bool:
        """Whether a cell needs no more work: measured, or tried often enough.

        What was left out for want of a package is tried again.
        """
        found = self.data["cells"].get(key)
        if found is None or found.get("unfinished"):
            return self.data["begun"].get(key, 0) >= TRIES
        return not found.get("skipped")

    def run(self, cell: Cell, seconds: float) -> dict[str, Any]:
        """Measures a cell and writes it; an exception becomes {'failed': ...}."""
        begun, start = self.data["begun"], time.perf_counter()
        begun[cell.key] = begun.get(cell.key, 0) + 1
        write_json(self.path, self.data)
        try:
            found = cell.measure(seconds)
        except Exception as error:  # the other cells are worth having; main ends with exit code 1
            found = {"failed": {cell.key: f"{type(error).__name__}: {error}"}}
        begun[cell.key] = 0  # it came back
        found["seconds"] = time.perf_counter() - start
        self.data["cells"][cell.key] = found
        write_json(self.path, self.data)
        return found

    def failures(self) -> dict[str, str]:
        """{what: why} of all cells."""
        found = {
            key: f"ended the process {TRIES} times: left out"
            for key, tries in self.data["begun"].items()
            if tries >= TRIES
        }
        for key, cell in self.data["cells"].items():
            for who, why in cell.get("failed", {}).items():
                found[key if who == key else f"{key}: {who}"] = why
        return found


def measure(
    record: Record, parts: list[Part], minutes: float, tell: Callable[[str], None]
) -> list[str]:
    """Works through the parts, each within its budget, then through what they left; what is left.

    A cell is begun where the time that is left covers the longest of its part so far.
    """
    end = time.perf_counter() + 60 * minutes
    for within_budget in (True, False):
        for part in parts:
            start = time.perf_counter()
            stop = min(end, start + 60 * part.minutes) if within_budget else end
            longest = 0.0
            for cell in part.cells:
                left = stop - time.perf_counter()
                if record.done(cell.key) or left <= longest:
                    continue
                tell(f"{cell.key} ... ({(end - time.perf_counter()) / 60:.1f} minutes left)")
                found = record.run(cell, left)
                tell(f"  {summary(found)}  ({found['seconds']:.1f} s)")
                longest = max(longest, found["seconds"])
    return [cell.key for part in parts for cell in part.cells if not record.done(cell.key)]


def summary(found: dict[str, Any]) -> str:
    """A cell in one line."""
    rates = found.get("images_per_second", {})
    words = [f"{name} {rate:,.0f}/s" for name, rate in rates.items()]
    words += [found["told"]] if "told" in found else []
    for kind in ("skipped", "failed"):
        words += [f"{kind}: {who}: {why}" for who, why in found.get(kind, {}).items()]
    return "; ".join(words)
