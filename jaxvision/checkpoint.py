"""Checkpoints: the newest and the best steps of a run, through orbax.

It is imported here alone, and not before something is saved or restored: it takes as long as jax.
"""

import contextlib
import functools
import gc
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxvision.console import say
from jaxvision.errors import UserError

T = TypeVar("T")
# Why a save fails that is no fault of the program, in the words of the system.
DISK = ("No space left", "Disk quota", "File too large", "Read-only file", "Permission denied")

# What fails is raised and told in one line; orbax logs it as well, in hundreds.
logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)
logging.getLogger("asyncio").addFilter(lambda r: "never retrieved" not in r.getMessage())


class Damaged(UserError):
    """A checkpoint that cannot be read, or not as this model's."""


class Checkpoints:
    """A run's checkpoints, `workdir/checkpoints/<step>/`.

    Each holds the train state and a JSON `notes` dict: what the host must remember beside it.
    """

    def __init__(self, folder: Path, higher_is_better: bool, keep_every: int):
        self.folder, self.higher_is_better = folder, higher_is_better
        self.keep_every = keep_every

    @functools.cached_property
    def manager(self) -> Any:
        """orbax's, made when something is first saved: it reads what is there, and may fail."""
        return _make_manager(self.folder, self.higher_is_better, self.keep_every)

    def save(self, step: int, state: Any, notes: dict[str, Any], score: float | None) -> None:
        """Starts saving; training goes on while the files are written.

        Args:
          step: names the checkpoint.
          state: a pytree of arrays.
          notes: JSON-able.
          score: the metric that decides which step is best; None or NaN: never this one.

        Raises:
          UserError: the disk is full or may not be written.
        """
        import orbax.checkpoint as ocp

        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(notes)
        )
        metrics = {"score": score} if score is not None and math.isfinite(score) else None
        with self._saving():
            self.manager.save(step, args=items, metrics=metrics, force=True)

    def wait(self) -> None:
        """Returns once everything is on disk.

        Raises:
          UserError: the disk is full or may not be written.
        """
        with self._saving():
            if "manager" in vars(self):
                self.manager.wait_until_finished()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # an OSError, or tensorstore's ValueError with its text
            reason = next((r for r in DISK if r.lower() in str(error).lower()), None)
            if reason is None:
                raise
            kept = f"step {self.newest()} stays" if self.steps() else "nothing was saved before it"
            raise UserError(
                f"cannot save a checkpoint in {self.folder} ({reason.lower()}); {kept}. Make room, "
                "then the same command resumes"
            ) from error

    def steps(self) -> list[int]:
        """Every saved step; one whose saving was cut off has another name."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit() and p.is_dir())

    def newest(self) -> int | None:
        """The last saved step; None in a fresh workdir."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The saved step with the best score; the newest where no step has a score."""
        scores = {step: self._score(step) for step in self.steps()}
        scores = {step: score for step, score in scores.items() if score is not None}
        sign = 1 if self.higher_is_better else -1
        # Of equal ones the newest, as orbax keeps.
        return max(scores, key=lambda s: (sign * scores[s], s), default=self.newest())

    def _score(self, step: int) -> float | None:
        try:
            score = json.loads((self.folder / str(step) / "metrics" / "metrics").read_bytes())
            return float(score["score"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def notes(self, step: int) -> dict[str, Any]:
        """The notes of a saved step.

        Raises:
          Damaged: they cannot be read.
        """
        with _reading(self.folder / str(step)):
            notes = json.loads((self.folder / str(step) / "notes" / "metadata").read_bytes())
            if not {"info", "fitted"} <= notes.keys():
                raise ValueError("other notes than ours")
            return notes

    def restore(self, step: int, like: Any) -> Any:
        """The state of a saved step, with the structure and placement of `like`.

        Raises:
          Damaged: it cannot be read, or has another structure (another model or optimizer).
        """
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        import orbax.checkpoint as ocp

        path = self.folder / str(step) / "state"
        with _reading(path.parent), ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, like)

    def restore_as_saved(self, step: int, sharding: jax.sharding.Sharding) -> dict[str, Any]:
        """The state of a saved step as nested dicts, whatever machine and devices it came from.

        Raises:
          Damaged: it cannot be read.
        """
        import orbax.checkpoint as ocp

        path = self.folder / str(step) / "state"
        with _reading(path.parent), ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path).item_metadata
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                saved.tree,
            )
            return checkpointer.restore(path, like)

    def first_intact(
        self, steps: Sequence[int], load: Callable[[int], T]
    ) -> tuple[int, T, list[int]]:
        """(step, load(step), damaged steps before it) of the first that can be read; told in lines.

        Args:
          steps: in the order in which they are wanted; at least one.
          load: raises Damaged where it cannot.

        Raises:
          UserError: none can be read.
        """
        damaged = []
        for step in steps:
            try:
                loaded = load(step)
            except Damaged as error:
                damaged.append((step, error))
                continue
            for other, error in damaged:
                say(f"note: checkpoint {other} cannot be used ({error}): step {step} is, instead")
            return step, loaded, [other for other, _ in damaged]
        told = "; ".join(f"{step}: {error}" for step, error in damaged)
        raise UserError(
            f"no checkpoint in {self.folder} can be used ({told}): bring the files back, or begin "
            "anew in another --workdir"
        )

    def set_aside(self, steps: Sequence[int]) -> None:
        """Renames steps that cannot be used, so that the run can save them anew."""
        for step in steps:
            aside = self.folder / f"damaged_{step}"
            number = 1
            while aside.exists():
                number += 1
                aside = self.folder / f"damaged_{step}_{number}"
            (self.folder / str(step)).rename(aside)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises whatever reading a step raises as Damaged; orbax and tensorstore raise anything."""
    hook = sys.unraisablehook
    asyncio_logger = logging.getLogger("asyncio")
    level = asyncio_logger.level
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        # Its other reads, given up, would each tell the same once more.
        sys.unraisablehook = lambda unraisable: None
        asyncio_logger.setLevel(logging.CRITICAL)
        damaged = Damaged(_reason(error, path))
        error.__traceback__ = error.__cause__ = error.__context__ = None
        del error
        gc.collect()
        raise damaged from None
    finally:
        sys.unraisablehook = hook
        asyncio_logger.setLevel(level)


def _reason(error: Exception, path: Path) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return "a file is missing"
    if isinstance(error, PermissionError):
        return "may not be read"
    if "do not match" in text or "mismatch" in text or "not compatible" in text:
        return "of another model or optimizer than this config's"
    missing = "NOT_FOUND" in text or isinstance(error, (AttributeError, KeyError))
    return "a file is missing" if missing else "a file is damaged"


def open_checkpoints(workdir: str, higher_is_better: bool, keep_every: int = 0) -> Checkpoints:
    """The checkpoints of a workdir, which keeps the newest and the best of them.

    Args:
      workdir: the run's folder.
      higher_is_better: which score is best.
      keep_every: saved steps that are multiples of this are kept as well; 0: none.
    """
    return Checkpoints(Path(workdir).resolve() / "checkpoints", higher_is_better, keep_every)


def _make_manager(folder: Path, higher_is_better: bool, keep_every: int) -> Any:
    import orbax.checkpoint as ocp
    from orbax.checkpoint import checkpoint_managers as policies

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
    handlers = {"state": ocp.StandardCheckpointHandler(), "notes": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)
