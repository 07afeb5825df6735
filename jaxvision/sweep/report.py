"""What a sweep writes, and says at its end."""

import optuna
from optuna.trial import TrialState

from jaxvision.console import say
from jaxvision.errors import UserError
from jaxvision.sweep import figures, hparams, table
from jaxvision.sweep.space import Space
from jaxvision.sweep.study import counted
from jaxvision.sweep.trial import FAILED, Plan


def write(study: optuna.Study, plan: Plan, space: Space) -> None:
    """Tables and HParams of what is known so far."""
    rows = table.rows(study, plan, space)
    if not rows:
        return
    table.write_csv(plan.folder / "trials.csv", rows)
    table.write_markdown(plan.folder / "trials.md", rows, plan, list(space.distributions))
    hparams.write(plan.folder, rows, space.distributions, plan.metric)
    if any(row["state"] == "complete" for row in rows):
        table.write_best(plan.folder / table.BEST, study, plan)


def finish(study: optuna.Study, plan: Plan, space: Space) -> None:
    """Figures; prints the table, the best trial and its command.

    Raises:
      UserError: trials failed.
    """
    rows = table.rows(study, plan, space)
    drawn = figures.write(
        plan.folder / "figures", study, rows, space.distributions, f"val/{plan.metric}"
    )
    say((plan.folder / "trials.md").read_text().rstrip())
    say(f"written: {plan.folder}/trials.csv, trials.md, figures/ ({', '.join(drawn)})")
    under_way = sum(row["state"] == "running" for row in rows)
    if under_way:
        say(f"{under_way} trials are under way in other runners, which go on")
    if any(row["state"] == "complete" for row in rows):
        _say_best(study, plan, rows)
    failed = [
        t for t in counted(study) if t.state == TrialState.RUNNING and t.user_attrs.get(FAILED)
    ]
    if failed:
        numbers = ", ".join(str(t.number) for t in failed)
        raise UserError(
            f"{len(failed)} trials failed ({numbers}; the last: {failed[-1].user_attrs[FAILED]}): "
            "the same command tries them again"
        )


def _say_best(study: optuna.Study, plan: Plan, rows: list[dict]) -> None:
    best = study.best_trial
    own = next((row for row in rows if row["own"] and row["value"] is not None), None)
    beside = f" (the config's own values: {own['value']:.4g})" if own else ""
    say(f"best: trial {best.number}, val/{plan.metric} {best.value:.4g}{beside}")
    say(f"its command, also in {plan.folder / table.BEST}:")
    say(f"  {table.best_command(study, plan)}")
