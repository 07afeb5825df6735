"""The trials as rows: trials.csv, trials.md, and the command that the best one was."""

import csv
import io
import math
import shlex
import statistics
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from jaxvision import cache
from jaxvision.sweep.space import Space, arguments
from jaxvision.sweep.study import OWNER, counted
from jaxvision.sweep.trial import FAILED, OUTCOME, SCORES, SECONDS, Plan

BEST = "best.sh"


def rows(study: optuna.Study, plan: Plan, space: Space) -> list[dict[str, Any]]:
    """One row a trial, the best first, then those that were not run to their end.

    'value' is the mean of the seeds' best validations, 'spread' their standard deviation; of a
    trial that was stopped early, its best until then. 'own': whether it has the config's values.
    """
    found = [_row(trial, plan, space) for trial in counted(study)]
    sign = -1 if plan.higher_is_better else 1

    def order(row):
        value = row["value"]
        known = value is not None and math.isfinite(value)
        return row["state"] != "complete", not known, sign * value if known else 0, row["trial"]

    return sorted(found, key=order)


def _row(trial: FrozenTrial, plan: Plan, space: Space) -> dict[str, Any]:
    scores = trial.user_attrs.get(SCORES, [])
    # An outcome is noted before the value is told: another host may look in between.
    finished = trial.state.is_finished()
    value, outcome = (trial.value, trial.user_attrs.get(OUTCOME)) if finished else (None, None)
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[trial.last_step]
    failed = trial.user_attrs.get(FAILED, "")
    owner = trial.user_attrs.get(OWNER) or ""
    return {
        "trial": trial.number,
        "state": outcome or ("failed" if failed else "running"),
        "value": value,
        "spread": statistics.stdev(scores) if len(scores) > 1 else None,
        **{name: trial.params.get(name) for name in space.distributions},
        "own": space.own == trial.params,
        "validations": len(trial.intermediate_values),
        "seconds": round(trial.user_attrs.get(SECONDS, 0.0), 1),
        "host": owner.split("/")[0],
        "workdir": str(plan.trial_folder(trial.number)),
        "scores": " ".join(f"{score:.6g}" for score in scores),
        "why": failed,
    }


def write_csv(path: Path, table: list[dict[str, Any]]) -> None:
    """All columns."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    _write(path, text.getvalue())


def write_markdown(path: Path, table: list[dict[str, Any]], plan: Plan, fields: list[str]) -> None:
    """What tells most, to be read."""
    mean = f", mean of {len(plan.seeds)} seeds ± sd" if len(plan.seeds) > 1 else ""
    names = ["trial", f"val/{plan.metric}{mean}", *fields, "state", "validations", "seconds"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in table:
        value = "" if row["value"] is None else f"{row['value']:.4g}"
        if row["spread"] is not None:
            value += f" ± {row['spread']:.2g}"
        own = " (the config's own values)" if row["own"] else ""
        cells = [row["trial"], value, *(_short(row[name]) for name in fields)]
        cells += [f"{row['state']}{own}", row["validations"], f"{row['seconds']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    _write(path, "\n".join(lines) + "\n")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def best_command(study: optuna.Study, plan: Plan) -> str:
    """The command that trains as the best trial did, in a workdir of its own."""
    best = study.best_trial
    given = [*plan.arguments, *arguments(best.params)]
    workdir = plan.folder / "best"
    command = ["python", "main.py", *given, f"--workdir={workdir}"]
    return " ".join(shlex.quote(word) for word in command)


def write_best(path: Path, study: optuna.Study, plan: Plan) -> None:
    """The commands of the best trial: its training, and its judgement on the test split."""
    best, folders = study.best_trial, [plan.workdir(study.best_trial.number, s) for s in plan.seeds]
    judge = [f"python main.py --mode=evaluate --workdir={shlex.quote(str(f))}" for f in folders]
    lines = [
        f"# trial {best.number}: val/{plan.metric} {best.value:.6g}; trained anew:",
        best_command(study, plan),
        "# as it was trained, judged on the test split, which no trial has read:",
        *(f"# {line}" for line in judge),
    ]
    _write(path, "\n".join(lines) + "\n")


def _write(path: Path, text: str) -> None:
    with cache.atomic_file(path) as file:
        file.write(text.encode())
