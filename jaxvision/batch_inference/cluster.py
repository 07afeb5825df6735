"""Shards spread over a cluster by Ray Data; each worker holds the model."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision.batch_inference.plan import Plan
from jaxvision.batch_inference.shards import Done
from jaxvision.console import say
from jaxvision.errors import UserError

WORKER_CPUS = 2  # of a worker without a GPU: more workers need more memory, not less time
STORE_BYTES = 128 * 2**20  # of Ray's own memory on one host: only shards' numbers pass through it
KNOCK_SECONDS = 10.0  # until a cluster's address has to answer
# Quiet; set before it is imported.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Job(NamedTuple):
    """What a worker is told; picklable.

    Attributes:
      config: the run's, as a dict.
      workdir: absolute, of the run or the exported model; every host sees it there.
      step: of the run.
      plan: the work; its folders are absolute, too.
    """

    config: dict[str, Any]
    workdir: str
    step: int
    plan: Plan


class Slots(NamedTuple):
    """How many workers there may be and how many fit now, and the CPUs and GPUs of each."""

    workers: int
    now: int
    cpus: int
    gpus: int


class Worker:
    """The model in a process of its own; Ray calls it with one shard at a time."""

    def __init__(self, job: Job, digest: str, slots: Slots):
        os.environ["NPROC"] = str(slots.cpus)  # XLA's threads
        self.job, self.slots, self.trouble, self.engine = job, slots, "", None
        from jaxvision.engine import open_engine

        config = ConfigDict(job.config)
        try:
            self.engine = open_engine(config, job.workdir, step=job.step)
            if self.engine.digest != digest:
                self.trouble = f"{job.workdir} holds another model here than where this was begun"
        except UserError as error:
            self.trouble = str(error)
        self.config = config

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of {'shard': [1]}: the fields of its `Done`, and 'trouble', what kept it from being."""
        from jaxvision.batch_inference.shards import predict_shards

        done, trouble = Done(int(batch["shard"][0]), 0, 0), self.trouble
        try:
            if not trouble:
                shards, threads = [done.shard], self.slots.cpus
                (done,) = predict_shards(self.engine, self.config, self.job.plan, shards, threads)
        except UserError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{error.filename or self.job.plan.folder}: {error.strerror or error}"
        runs_on = self.engine.runs_on if self.engine else ""
        fields = {**done._asdict(), "trouble": trouble, "runs_on": runs_on}
        return {name: np.array([value]) for name, value in fields.items()}


def predict_shards(job: Job, digest: str, shards: Sequence[int], workers: int) -> Iterator[Done]:
    """Has the workers of a cluster predict shards, and yields each as it gets done.

    The cluster is that of $RAY_ADDRESS ('auto': the one that runs on this host); without it, this
    host becomes one until the end.

    Args:
      job: the work.
      digest: of the model.
      shards: their numbers.
      workers: at most, also more than fit now, as clusters may grow; 0: as many as fit.

    Raises:
      UserError: Ray is not installed or does not start; a worker could not go on.
    """
    ray = _start()
    try:
        slots = _slots(ray.nodes(), workers, len(shards))
        numbers = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        )
        results = numbers.map_batches(
            Worker,
            fn_constructor_args=(job, digest, slots),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=slots.now, max_size=slots.workers
            ),
            num_cpus=slots.cpus,
            num_gpus=slots.gpus or None,
        )
        first = True
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            for number, rows, failed, trouble, runs_on in zip(*batch.values(), strict=True):
                if trouble:
                    raise UserError(f"a worker stopped: {trouble}")
                if first:
                    say(f"up to {slots.workers} workers of {slots.cpus} CPUs, on {runs_on}")
                    first = False
                yield Done(int(number), int(rows), int(failed))
    finally:
        ray.shutdown()


def _start() -> Any:
    """The module ray, connected.

    Raises:
      UserError: it is not installed, or there is no such cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError('--engine=ray needs ray: pip install -e ".[cluster]"') from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS") or "local"
    # Without an address Ray would join whatever cluster it finds on this host, dying ones included.
    alone = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        _knock(address)
        ray.init(address=address, **(alone if address == "local" else {}), **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"Ray does not start (RAY_ADDRESS={address!r}): {reason}") from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _slots(nodes: list[dict[str, Any]], workers: int, shards: int) -> Slots:
    """One worker a GPU where there are any, with its share of the host's CPUs for reading; else one
    for every WORKER_CPUS CPUs, or as many as asked for with their share of all.
    """
    hosts = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = [int(host.get("CPU", 0)) for host in hosts]
    gpus = [int(host.get("GPU", 0)) for host in hosts]
    if any(gpus):
        each = min(c // g for c, g in zip(cpus, gpus, strict=True) if g)
        fit, each, gpu = sum(gpus), max(each, 1), 1
    else:
        each = sum(cpus) // workers if workers else WORKER_CPUS
        each = max(min(each, max(cpus)), 1)
        fit, gpu = sum(c // each for c in cpus), 0
    most = max(min(workers or fit, shards), 1)
    return Slots(most, max(min(most, fit), 1), each, gpu)
