"""When something is due: how often a run logs, judges and saves, and how long its calls may be."""

import jax

from jaxvision.training.run import Run


def every(run: Run) -> dict[str, int]:
    """{'log', 'eval' and 'save': after how many steps each}; what never comes is left out."""
    config = run.config
    steps = {
        "log": config.log.every_steps,
        "eval": max(1, round(config.eval.every_epochs * run.steps_per_epoch)),
        "save": config.checkpoint.every_steps or run.total_steps,
    }
    return {name: n for name, n in steps.items() if n}


def count(run: Run, step: int) -> int:
    """Steps of the call after `step`: one, or steps_per_call if nothing is due in between."""
    per_call = run.config.train.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    next_event = min(run.total_steps, *(step + n - step % n for n in every(run).values()))
    return per_call if next_event - step >= per_call else 1
