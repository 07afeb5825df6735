"""Whether what a config asks for can fit into memory: asked before the system kills the run."""

import contextlib
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision.errors import UserError

# A batch is there as bytes and, once the network has it, as 32-bit numbers, whatever else there is.
COPIES = 5
CHANNELS = 3
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> float:
    """Bytes that this machine could give a process; inf where it does not tell."""
    free = float("inf")
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * float(next(x for x in lines if x.startswith("MemAvailable")).split()[1])
    for path in _CGROUP:
        with contextlib.suppress(OSError, ValueError):  # 'max' is no number: no limit
            free = min(free, float(Path(path).read_text()))
    return free


def refuse_pictures(config: ConfigDict, name: str, size: int) -> None:
    """What is known before data is read: `size` pictures of data.image_size.

    Raises:
      UserError: they cannot fit.
    """
    side = config.data.get("image_size", 0)
    side = side if isinstance(side, int) else 0
    _refuse(name, max(size, 1), max(side, 1) ** 2 * (CHANNELS if side else 1))


def refuse_batch(split: Any, name: str, size: int) -> None:
    """`size` rows of a split.

    Raises:
      UserError: they cannot fit.
    """
    _refuse(name, size, sum(array.nbytes for array in split.read(0).values()))


def _refuse(name: str, size: int, row_bytes: int) -> None:
    needed, free = COPIES * size * row_bytes, available()
    if needed > free:
        raise UserError(
            f"{name}={size} needs {needed / 2**30:,.1f} GiB or more for its pictures of "
            f"{row_bytes / 2**20:.3g} MiB, and {free / 2**30:,.1f} GiB of memory are free: lower it"
            ", or data.image_size"
        )


def refuse_model(numbers: int) -> None:
    """A network with so many parameters: they, their gradients and the optimizer's two moments.

    Raises:
      UserError: they cannot fit.
    """
    needed, free = 4 * 4 * numbers, available()
    if needed > free:
        raise UserError(
            f"the model has {numbers:,} parameters, whose training needs {needed / 2**30:,.1f} GiB "
            f"or more, and {free / 2**30:,.1f} GiB of memory are free: lower the widths in model"
        )
