"""Memory in large pages, which glibc gives only to a process that begins with them."""

import os
import sys
from pathlib import Path

OFF = "JAXVISION_LARGE_PAGES"  # 0: as the system has it
TUNABLE = "glibc.malloc.hugetlb=1"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_again() -> None:
    """Starts this program again, in this process, with large pages; does nothing if it has them.

    A training step on a CPU allocates and gives back hundreds of MB. With pages of 2 MB in place of
    4 KB the kernel has 500 times fewer to clear: benchmarks/README.md has the figures. Call it
    before anything heavy is imported. Systems without glibc 2.35 or large pages stay as they are.
    """
    if os.environ.get(OFF) == "0" or not available():
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in tunables:  # this is the second start, or the user's choice
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{TUNABLE}" if tunables else TUNABLE
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def available() -> bool:
    """Whether this system's allocator and kernel know them."""
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""  # 'glibc 2.36'
        version = tuple(int(part) for part in library.removeprefix("glibc ").split(".")[:2])
        return version >= (2, 35) and "[never]" not in _KERNEL.read_text()
    except (AttributeError, OSError, ValueError):  # another system, another library, no such file
        return False
