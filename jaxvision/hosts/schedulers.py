"""Which of several processes this is: by flags, or by what SLURM, Open MPI or Kubernetes set."""

import importlib.util
from collections.abc import Mapping
from typing import NamedTuple

from jaxvision.errors import UserError

ALONE = "--processes=1 goes on alone"


class Place(NamedTuple):
    """Arguments of `jax.distributed.initialize`; None: it finds out.

    Attributes:
      coordinator, processes, process: as there.
      devices: the GPUs of this process, by their numbers on its host.
      told: where process 0 is, in words.
    """

    coordinator: str | None
    processes: int | None
    process: int | None
    devices: list[int] | None
    told: str


def find_place(
    coordinator: str, processes: int, process: int, environment: Mapping[str, str]
) -> Place | None:
    """The place of this process among several; None where it is alone.

    Args:
      coordinator, processes, process: as of `hosts.connect`; what is given wins.
      environment: the variables.

    Raises:
      UserError: arguments that do not fit each other.
    """
    if processes == 1 and process in (-1, 0):
        return None
    if coordinator and not _is_address(coordinator):
        raise UserError(f"--coordinator={coordinator!r}: give host:port of process 0")
    scheduler, size, rank, devices = _scheduled(environment)
    if processes or process >= 0:
        if not processes or process < 0 or not coordinator:
            raise UserError(
                "--coordinator=host:port, --processes=N and --process=i go together: give all "
                "three, the first two alike on every host"
            )
        if process >= processes:
            raise UserError(f"--process={process}: it is one of 0 to {processes - 1}")
        return Place(coordinator, processes, process, None, coordinator)
    if coordinator and size is None:
        raise UserError(
            f"--coordinator={coordinator} needs --processes=N and --process=i, as neither SLURM "
            "nor Open MPI has set them"
        )
    if scheduler is None:
        return None
    return Place(
        coordinator or None, size, rank, devices, coordinator or f"process 0 of {scheduler}"
    )


def _scheduled(environment: Mapping[str, str]) -> tuple:
    """(scheduler, processes, process, devices); all None where there is none, or one process."""
    steps, ranks = environment.get("SLURM_STEP_NUM_TASKS"), environment.get("OMPI_COMM_WORLD_SIZE")
    if steps and int(steps) > 1:  # of srun; an array's tasks and an interactive shell have one
        return "SLURM", int(steps), int(environment["SLURM_PROCID"]), _slurm_devices(environment)
    if ranks and int(ranks) > 1:
        local = environment.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")
        one = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1") != "1"
        rank = int(environment["OMPI_COMM_WORLD_RANK"])
        return "Open MPI", int(ranks), rank, [int(local)] if one else None
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        if importlib.util.find_spec("kubernetes") is None:
            raise UserError(
                "this is a pod of an indexed Job: pip install 'jax[k8s]' finds the others, as do "
                f"--coordinator=host:port --processes=N --process=i; {ALONE}"
            )
        return "Kubernetes", None, None, None
    return None, None, None, None


def _slurm_devices(environment: Mapping[str, str]) -> list[int] | None:
    """All GPUs of a node that has one process; else one a process."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "").split("(")[0].split(",")[0]
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    if tasks != "1":
        return [int(environment.get("SLURM_LOCALID", "0"))]
    return list(range(int(gpus))) if gpus.isdigit() else None


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536
