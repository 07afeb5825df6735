"""Several processes: one is gone, is stopped, or is not like the others."""

import itertools
import json
import re
import signal
import socket
import time

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.hosts import schedulers
from jaxvision.hosts.schedulers import find_place
from tests.command import RAM, refused
from tests.processes import ended, start_pair

# main.py, in which a process is held for gone sooner.
MAIN = (
    "-c",
    "import runpy, sys; from jaxvision.hosts import watch; watch.GONE_SECONDS = 8.0; "
    "sys.argv[0] = 'main.py'; runpy.run_path('main.py', run_name='__main__')",
)
LONG = (
    *MAIN,
    *RAM,
    "--config.train.steps=1000000",
    "--config.checkpoint.every_steps=20",
    "--config.eval.every_epochs=1e6",
    "--config.log.every_steps=1000000",
)


@pytest.fixture
def begin():
    """begin(command, extras): a pair of processes, which do not outlive the test."""
    begun = []

    def start(command, **options):
        begun.append(start_pair(command, **options))
        return begun[-1]

    yield start
    for process in itertools.chain(*begun):
        process.kill()


def checkpoints(workdir):
    folders = (workdir / "checkpoints").glob("[0-9]*")
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit())


def wait_for_a_checkpoint(workdir, processes, after=0):
    until = time.monotonic() + 120
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        if max(checkpoints(workdir), default=0) > after:
            return
        time.sleep(0.05)
    raise AssertionError(ended(processes))


def test_a_process_that_is_killed_is_named_and_the_same_commands_resume(begin, tmp_path):
    command = [*LONG, f"--workdir={tmp_path}"]
    pair = begin(command)
    wait_for_a_checkpoint(tmp_path, pair)
    pair[1].kill()
    code, _, lines = ended(pair)[0]
    assert code == 3 and len(lines) == 1, lines
    assert f"process 1 ({socket.gethostname()}) is gone" in lines[0]
    assert "the same commands resume" in lines[0]

    kept = checkpoints(tmp_path)[-1]
    pair = begin(command)
    wait_for_a_checkpoint(tmp_path, pair, after=kept)
    pair[0].kill()
    _, (code, _, lines) = ended(pair)
    assert code == 3 and len(lines) == 1, lines
    assert f"process 0 ({socket.gethostname()}) is gone" in lines[0]


def test_a_signal_to_one_process_stops_all_at_the_same_step(begin, tmp_path):
    command = [*LONG, f"--workdir={tmp_path}"]
    pair = begin(command)
    wait_for_a_checkpoint(tmp_path, pair)
    pair[1].send_signal(signal.SIGTERM)
    (code, out, lines), (other, said, _) = ended(pair)
    assert code == other == 128 + signal.SIGTERM, lines
    assert said == ""
    saved = int(re.search(r"SIGTERM: saved step (\d+)", out).group(1))
    assert saved == checkpoints(tmp_path)[-1]


def class_folders(folder, seed):
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_hosts_with_different_data_are_refused(begin, tmp_path):
    paths = [class_folders(tmp_path / f"data{i}", seed=i) for i in range(2)]
    command = [*MAIN, "--config=configs/fer.py", f"--workdir={tmp_path / 'run'}"]
    command += ["--config.model.encoder.name=cnn_tiny", "--config.data.image_size=16"]
    extras = [[f"--config.data.path={path}"] for path in paths]
    told = ended(begin(command, extras=extras))
    for code, _, lines in told:
        assert code == 2, lines
    lines = told[0][2]
    assert len(lines) == 1 and lines[0].startswith("error: process 1 ("), lines
    assert len(set(re.findall(r"fingerprint ([0-9a-f]{16})|has ([0-9a-f]{16})", lines[0]))) == 2
    assert all(str(path) in lines[0] for path in paths) and "process 0 (" in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_is_not_shared_is_refused(begin, tmp_path):
    extras = [[f"--workdir={tmp_path / name}"] for name in ("a", "b")]
    told = ended(begin([*MAIN, *RAM], extras=extras))
    for code, _, lines in told:
        assert code == 2, lines
    assert len(told[0][2]) == 1 and "does not see --workdir=" in told[0][2][0]
    assert "process 1 (" in told[0][2][0] and not list(tmp_path.iterdir())


def test_modes_of_one_process_and_odd_flags_are_refused(call, tmp_path):
    work = f"--workdir={tmp_path}"
    (tmp_path / "config.json").write_text(json.dumps({"task": "attention"}))
    alone = ("--mode=export", work, "--config=configs/ram.py", "--processes=2")
    refused(call(*alone), "--mode=export is done by one process")
    refused(call(work, *RAM, "--processes=2"), "go together")
    full = (work, *RAM, "--processes=2", "--coordinator=here:99", "--process=2")
    refused(call(*full), "--process=2", "0 to 1")
    odd = (work, *RAM, "--processes=2", "--coordinator=here", "--process=0")
    refused(call(*odd), "host:port")


SLURM = {
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_GPUS_ON_NODE": "8",
}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}


def test_a_scheduler_tells_the_place(monkeypatch):
    monkeypatch.setattr(schedulers.importlib.util, "find_spec", lambda name: None)
    place = find_place("", 0, -1, SLURM)
    assert (place.coordinator, place.processes, place.process) == (None, 16, 9)
    assert place.devices == [1]
    one_a_node = {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1(x16)"}
    assert find_place("", 0, -1, one_a_node).devices == list(range(8))
    place = find_place("first:1234", 0, -1, MPI)
    assert (place.coordinator, place.processes, place.process) == ("first:1234", 4, 3)
    assert find_place("", 0, -1, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find_place("", 1, -1, SLURM) is None
    assert find_place("", 0, -1, {}) is None
    given = find_place("first:1234", 2, 1, SLURM)
    assert (given.coordinator, given.processes, given.process) == ("first:1234", 2, 1)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}
    with pytest.raises(UserError, match="--processes=1 goes on alone"):
        find_place("", 0, -1, pod)
    with pytest.raises(UserError, match="needs --processes"):
        find_place("first:1234", 0, -1, {})
