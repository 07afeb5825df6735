"""Several processes, on one host or many, that train or judge one model together.

Process 0 also writes what a run leaves; all compute. What is said between them beside the devices'
own collectives goes through the key-value store of jax.distributed's coordinator, which process 0
runs. In a program that runs alone (`count() == 1`) every function does nothing, or the obvious.
"""

import itertools
import json
import os
import secrets
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxvision import failures
from jaxvision.console import mute
from jaxvision.errors import UserError
from jaxvision.hosts import watch
from jaxvision.hosts.schedulers import Place, find_place

T = TypeVar("T")
START_SECONDS = 300  # until all processes must have come
LATER_MS = 7 * 24 * 3600 * 1000  # waiting ends before, where a process is gone: `watch` sees to it
SEEN_SECONDS = 15.0  # until a file of another host must show: network file systems keep listings
GRACE_SECONDS = 3.0  # in which others read why a process ends


class _Team(NamedTuple):
    """The processes of this program.

    Attributes:
      index, count: this process', and how many there are.
      client: of the coordinator's key-value store.
      hosts: the host of each.
      turn: numbers what is exchanged: all processes do so in the same order.
    """

    index: int
    count: int
    client: Any
    hosts: list[str]
    turn: Any


_team: _Team | None = None


def count() -> int:
    """Processes of this program."""
    return _team.count if _team else 1


def first() -> bool:
    """Whether this process writes files and talks."""
    return _team is None or _team.index == 0


def name(index: int) -> str:
    """'process 1 (its host)'."""
    return f"process {index} ({_team.hosts[index]})"


def connect(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Joins the other processes, if there are any; before jax uses a device.

    Args:
      coordinator: 'host:port' of process 0; '': as the scheduler's variables tell.
      processes, process: how many there are, and which this is; 0 and -1: likewise.

    Raises:
      UserError: the arguments do not fit each other, or the address cannot be used.
    """
    global _team
    place = find_place(coordinator, processes, process, os.environ)
    if place is None or _team is not None:
        return
    import jax
    from jax._src import distributed  # the store has no public name; orbax takes it from here, too

    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    watch.begin(
        f"not all {place.processes or ''} processes came to {place.told} within "
        f"{START_SECONDS} s: start the same command on every host, and open that port"
    )
    _initialize(jax, place)
    client = distributed.global_state.client
    index, number = distributed.global_state.process_id, distributed.global_state.num_processes
    client.key_value_set(f"jaxvision/host/{index}", socket.gethostname())
    client.wait_at_barrier("jaxvision/hosts", START_SECONDS * 1000)
    hosts = [host for _, host in _listed(client, "jaxvision/host/")]
    _team = _Team(index, number, client, hosts, itertools.count())
    watch.others(client, index, [name(i) for i in range(number)])
    if index:
        mute()


def _initialize(jax: Any, place: Place) -> None:
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            local_device_ids=place.devices,
            # Else JAX takes one GPU a process wherever a scheduler's variables are set.
            cluster_detection_method="deactivate" if place.coordinator else None,
            initialization_timeout=START_SECONDS,
        )
    except OSError as error:
        watch.end()
        raise UserError(
            f"process 0 cannot listen at {place.told} ({error.strerror}): choose another port"
        ) from error
    except (ValueError, RuntimeError) as error:
        watch.end()
        raise UserError(
            f"the processes cannot be joined ({' '.join(str(error).split())[:300]}): give "
            "--coordinator=host:port --processes=N --process=i, or --processes=1 for one alone"
        ) from error


def disconnect() -> None:
    """Waits for the others to come this far, and parts."""
    global _team
    if _team is None:
        return
    wait()
    watch.end()
    import jax

    jax.distributed.shutdown()
    _team = None


def wait() -> None:
    """Returns once every process is here."""
    if _team:
        _team.client.wait_at_barrier(f"jaxvision/turn/{next(_team.turn)}", LATER_MS)


def gather(value: str) -> list[str]:
    """The value of each process."""
    if _team is None:
        return [value]
    folder = f"jaxvision/turn/{next(_team.turn)}/"
    _team.client.key_value_set(f"{folder}{_team.index}", json.dumps(value))
    wait()
    return [json.loads(text) for _, text in _listed(_team.client, folder)]


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in process 0, where alone it is called; JSON-able."""
    if _team is None:
        return make()
    key = f"jaxvision/turn/{next(_team.turn)}"
    if first():
        made = make()
        _team.client.key_value_set(key, json.dumps(made))
        return made
    return json.loads(_team.client.blocking_key_value_get(key, LATER_MS))


def check_same(what: str, value: str, about: str, remedy: str) -> None:
    """Checks that all processes have the same `value`.

    Args:
      what: is compared.
      value: of this process.
      about: told beside it.
      remedy: what to do.

    Raises:
      UserError: they have not; it names two that differ.
    """
    told = gather(json.dumps([value, about]))
    values = [json.loads(text) for text in told]
    for i, (other, other_about) in enumerate(values):
        if other != values[0][0]:
            raise UserError(
                f"{name(i)} has {what} {other} ({other_about}), {name(0)} has {values[0][0]} "
                f"({values[0][1]}): {remedy}"
            )


def check_shared(folder: str) -> None:
    """Checks that every process sees the folder that process 0 does.

    Raises:
      UserError: one does not; it is named.
    """
    if _team is None:
        return
    path = Path(folder) / ".hosts"

    def mark() -> str:
        token = secrets.token_hex(8)
        path.write_text(token)
        return token

    token, until = from_first(mark), time.monotonic() + SEEN_SECONDS
    while not (seen := _holds(path, token)) and time.monotonic() < until:
        time.sleep(0.2)
    blind = [i for i, answer in enumerate(gather(str(seen))) if answer != "True"]
    if first():
        path.unlink()
    if blind:
        raise UserError(
            f"{name(blind[0])} does not see --workdir={folder} of {name(0)}: give a folder that "
            "all hosts share, by the same path"
        )


def _holds(path: Path, token: str) -> bool:
    try:
        return path.read_text() == token
    except OSError:
        return False


def _listed(client: Any, folder: str) -> list[tuple[int, str]]:
    found = [
        (int(key.rsplit("/", 1)[-1]), value) for key, value in client.key_value_dir_get(folder)
    ]
    return sorted(found)


def failed(error: BaseException, tell: Callable[[BaseException], tuple[int, str]]) -> tuple:
    """(exit code, line) of an error, which the other processes are told; '' where they tell it.

    Where another process was to blame, or the error is a fault of the program, this ends the
    process. In a program that runs alone it is `tell`.

    Args:
      error: that ends this process.
      tell: gives (exit code, line), or raises what it does not know.
    """
    if _team is None:
        return tell(error)
    watch.blame(error)
    try:
        code, line = tell(error)
    except BaseException:
        told = " ".join(f"fault: {type(error).__name__}: {error}".split())[:300]
        watch.leave(told, 1)
        traceback.print_exc()
        time.sleep(GRACE_SECONDS)
        watch.exit_now(1)
    return code, "" if watch.leave(line, code) else line


def exit_now(code: int) -> None:
    """Ends a process whose others may have ended otherwise: no goodbye, which they may not hear."""
    if _team is None:
        failures.end(code)
    time.sleep(GRACE_SECONDS if first() else 0)  # the store goes with process 0
    watch.exit_now(code)
