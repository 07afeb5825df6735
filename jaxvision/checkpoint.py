"""Checkpoints: the newest and the best steps of a run, through orbax (imported here alone)."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxvision.errors import UserError


class Checkpoints(NamedTuple):
    """A run's checkpoints, `workdir/checkpoints/<step>/`.

    Each holds the train state and a JSON `notes` dict: what the host must remember beside it.
    """

    manager: ocp.CheckpointManager

    def save(self, step: int, state: Any, notes: dict[str, Any], score: float | None) -> None:
        """Starts saving; training goes on while the files are written.

        Args:
          step: names the checkpoint.
          state: a pytree of arrays.
          notes: JSON-able.
          score: the metric that decides which step is best; None or NaN: never this one.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(notes)
        )
        metrics = {"score": score} if score is not None and math.isfinite(score) else None
        self.manager.save(step, args=items, metrics=metrics, force=True)

    def newest(self) -> int | None:
        """The last saved step; None in a fresh workdir."""
        return self.manager.latest_step()

    def best(self) -> int | None:
        """The saved step with the best score; the newest where no step has a score."""
        best = self.manager.best_step()
        return self.newest() if best is None else best

    def steps(self) -> list[int]:
        """Every saved step."""
        return sorted(self.manager.all_steps())

    def notes(self, step: int) -> dict[str, Any]:
        """The notes of a saved step."""
        return self.manager.restore(step, args=ocp.args.Composite(notes=ocp.args.JsonRestore()))[
            "notes"
        ]

    def restore(self, step: int, like: Any) -> Any:
        """The state of a saved step, with the structure and placement of `like`.

        Raises:
          UserError: the saved state has another structure (another model or optimizer).
        """
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        try:
            return self.manager.restore(step, args=args)["state"]
        except (ValueError, KeyError) as error:
            raise UserError(
                f"checkpoint {step} in {self.manager.directory} does not fit this config's model "
                f"and optimizer ({str(error).splitlines()[0]}): use the workdir's own config"
            ) from error

    def restore_as_saved(self, step: int, sharding: jax.sharding.Sharding) -> dict[str, Any]:
        """The state of a saved step as nested dicts, whatever machine and devices it came from."""
        saved = self.manager.item_metadata(step)["state"]
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), saved.tree
        )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        return self.manager.restore(step, args=args)["state"]

    def wait(self) -> None:
        """Returns once everything is on disk."""
        self.manager.wait_until_finished()


def open_checkpoints(workdir: str, higher_is_better: bool, keep_every: int = 0) -> Checkpoints:
    """The checkpoints of a workdir, which keeps the newest and the best of them.

    Args:
      workdir: the run's folder.
      higher_is_better: which score is best.
      keep_every: saved steps that are multiples of this are kept as well; 0: none.
    """
    # `best_fn` with `max_to_keep` would drop the newest; this keeps the union.
    keep = policies.AnyPreservationPolicy(
        [
            policies.LatestN(1),
            policies.BestN(
                get_metric_fn=lambda metrics: metrics["score"],
                reverse=not higher_is_better,
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
            *([policies.EveryNSteps(keep_every)] if keep_every else []),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        best_fn=lambda metrics: metrics["score"],
        best_mode="max" if higher_is_better else "min",
        create=True,
    )
    folder = Path(workdir).resolve() / "checkpoints"
    handlers = {"state": ocp.StandardCheckpointHandler(), "notes": ocp.JsonCheckpointHandler()}
    return Checkpoints(ocp.CheckpointManager(folder, options=options, item_handlers=handlers))
