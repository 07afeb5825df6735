"""The same work spread over a cluster by Ray; here one of this host alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxvision.batch_inference.cluster import Slots, _slots
from tests.batch_inference.pictures import FER, folder_of, rows

ROOT = Path(__file__).parents[2]


def predict(folder, output, *options):
    command = [sys.executable, "main.py", "--mode=predict", FER, f"--input={folder}"]
    command += [f"--output={output}", "--shard_rows=3", *options]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_ray_gives_the_rows_of_this_host_and_goes_on_where_it_stopped(call, tmp_path):
    pytest.importorskip("ray")
    folder = folder_of(tmp_path / "in", 11)
    (folder / "5.png").write_bytes(b"no picture")
    where = (f"--input={folder}", f"--output={tmp_path / 'local'}", "--shard_rows=3")
    assert call("--mode=predict", FER, *where, "--format=parquet")[0] == 2
    whole = rows(tmp_path / "local")
    # Begun on this host, gone on with by a cluster.
    part_of(tmp_path / "local", tmp_path / "both", without=(0, 2))
    done = predict(folder, tmp_path / "both", "--engine=ray", "--workers=2")
    assert done.returncode == 2, done.stderr
    assert "error: 1 of 11 pictures could not be predicted" in done.stderr.splitlines()[-1]
    assert "5 of 11 pictures are done already" in done.stdout, done.stdout
    assert rows(tmp_path / "both") == whole


def part_of(folder, target, without):
    shutil.copytree(folder, target)
    for shard in without:
        (target / "predictions" / f"{shard:06d}.parquet").unlink()


def node(cpus, gpus=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


def test_workers_fit_the_cluster():
    assert _slots([node(2)], 0, 9) == Slots(1, 1, 2, 0)
    assert _slots([node(2)], 2, 9) == Slots(2, 2, 1, 0)
    assert _slots([node(16), node(8), node(99, alive=False)], 0, 99) == Slots(12, 12, 2, 0)
    assert _slots([node(16), node(8)], 0, 5) == Slots(5, 5, 2, 0)
    assert _slots([node(32, 4), node(12, 2), node(64)], 0, 99) == Slots(6, 6, 6, 1)
    assert _slots([node(1)], 5, 9) == Slots(5, 1, 1, 0)


def test_a_cluster_that_is_not_there_is_one_line(call, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    folder_of(tmp_path / "in", 1)
    where = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    code, _, lines = call("--mode=predict", FER, *where, "--engine=ray")
    assert code == 2 and "Ray does not start (RAY_ADDRESS='127.0.0.1:1')" in lines[-1]
