"""Programs of several processes on this machine: two of two devices stand for two hosts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port():
    """A port that nobody listens at, for the coordinator."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def start(command, devices, **environment):
    """A python process of the repository with so many devices; its output as text."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_pair(command, devices=2, extras=((), ())):
    """Two processes of a command that takes --coordinator, --processes and --process."""
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    return [
        start([*command, coordinator, "--processes=2", f"--process={i}", *extras[i]], devices)
        for i in range(2)
    ]


def ended(processes, seconds=120):
    """[(exit code, stdout, lines of stderr)] of processes, which have ended."""
    try:
        told = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, out, err.strip().splitlines())
        for process, (out, err) in zip(processes, told, strict=True)
    ]
