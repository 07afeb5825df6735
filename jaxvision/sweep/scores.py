"""How far a run is, by its validations: from the metrics.jsonl that it is writing."""

import json
import math
from pathlib import Path


def validations(workdir: Path, metric: str) -> list[float]:
    """The metric of each validation so far, in order; nan where it was not finite.

    Args:
      workdir: a run's, or a folder where none has begun.
      metric: without 'val/'.
    """
    try:
        lines = (workdir / "metrics.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    found, name = {}, f"val/{metric}"
    for line in lines:
        if name.encode() not in line:  # most are of training, and many
            continue
        try:
            record = json.loads(line)
        except ValueError:  # half written, or cut short by a kill, after which it comes again
            continue
        if name in record:
            value = record[name]
            found[record["step"]] = math.nan if value is None else float(value)
    return [found[step] for step in sorted(found)]


def best_so_far(values: list[float], higher_is_better: bool) -> list[float]:
    """After each validation the best yet, which is what a run keeps; nan before a finite one."""
    best, found = math.nan, []
    for value in values:
        better = value > best if higher_is_better else value < best
        best = value if better or math.isnan(best) else best
        found.append(best)
    return found
