"""Weights & Biases (extra [wandb]), beside TensorBoard and with the same names."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision.errors import UserError
from jaxvision.input_pipeline.dataset import fingerprint


def start(config: ConfigDict, workdir: str) -> Any:
    """A run in the project config.log.wandb.project; None where that is ''.

    A resumed run goes on in the run of its workdir. WANDB_MODE=offline keeps everything under
    <workdir>/wandb, for `wandb sync` later.

    Raises:
      UserError: wandb is not installed, or would not start (no login, no network).
    """
    options = config.log.get("wandb", {})
    if not options.get("project"):
        return None
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            f'log.wandb.project={options.project!r} needs wandb: pip install -e ".[wandb]"'
        ) from error
    try:
        return wandb.init(
            project=options.project,
            entity=options.entity or None,
            name=Path(workdir).name,
            id=_run_id(Path(workdir)),
            resume="allow",
            dir=workdir,
            config=config.to_dict(),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except (wandb.errors.Error, OSError) as error:
        raise UserError(
            f"log.wandb.project={options.project!r}: {' '.join(str(error).split())}; "
            "WANDB_MODE=offline works without a login"
        ) from error


def _run_id(workdir: Path) -> str:
    """Kept in the workdir, so that a run which is begun anew in its place is another one."""
    path = workdir / "wandb_id"
    if not path.exists():
        stat = workdir.stat()
        path.write_text(fingerprint([workdir.resolve(), stat.st_ino, stat.st_ctime_ns]) + "\n")
    return path.read_text().strip()


def scalars(run: Any, step: int, values: dict[str, float]) -> None:
    """Logs scalars of a step; wandb passes over steps that it already has."""
    run.log(values, step=step)


def figure(run: Any, step: int, name: str, image: Any) -> None:
    """Logs uint8 [H, W, 3] as a picture; of a film, uint8 [F, H, W, 3], the last frame."""
    import wandb

    run.log({name: wandb.Image(image[-1] if image.ndim == 4 else image)}, step=step)
