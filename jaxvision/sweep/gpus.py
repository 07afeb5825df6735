"""Which GPUs each worker of a host has."""

import os
from collections.abc import Mapping
from pathlib import Path

# Of a GPU's memory, where workers share it; jax alone takes three quarters at its start.
SHARED_MEMORY = 0.9


def visible(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that this process may use: $CUDA_VISIBLE_DEVICES, or all of the host's."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted((name for name in numbers if name.isdigit()), key=int)


def share_out(workers: int, gpus: list[str], environment: Mapping[str, str]) -> list[dict]:
    """The environment of each worker's processes, [workers].

    As many GPUs as can be for each; where there are fewer GPUs than workers, one GPU is several
    workers', who then share its memory.
    """
    if not gpus:
        return [{} for _ in range(workers)]
    if workers <= len(gpus):
        return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[w::workers])} for w in range(workers)]
    each = -(-workers // len(gpus))  # workers on the GPU that has most
    own = environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{SHARED_MEMORY / each:.3f}")
    return [
        {"CUDA_VISIBLE_DEVICES": gpus[w % len(gpus)], "XLA_PYTHON_CLIENT_MEM_FRACTION": own}
        for w in range(workers)
    ]


def of_this_host(workers: int) -> list[dict]:
    """`share_out` for this process; 0 workers: one a GPU, or one."""
    gpus = visible(os.environ)
    return share_out(workers or max(1, len(gpus)), gpus, os.environ)
