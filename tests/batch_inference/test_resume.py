"""Work that was stopped, killed, or begun with something else."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.batch_inference.pictures import FER, encoded, folder_of, rows

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]


def asked(folder, output, *options):
    where = (f"--input={folder}", f"--output={output}", "--format=parquet")
    return "--mode=predict", FER, "--engine=onnx", *where, *options


def shards(output):
    return sorted((output / "predictions").glob("*.parquet"))


def test_finished_shards_stay_and_others_are_done(call, tmp_path):
    folder, output = folder_of(tmp_path / "in", 10), tmp_path / "out"
    assert call(*asked(folder, output, "--shard_rows=2"))[0] == 0
    whole, files = rows(output), shards(output)
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:100])  # cut by a crash of the machine
    shutil.copy(files[4], files[3])
    (output / "predictions" / ".part-0123").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in files if path.exists()}
    code, out, err = call(*asked(folder, output))  # with the shards that it was begun with
    assert code == 0, err
    assert "4 of 10 pictures are done already" in out
    assert rows(output) == whole and shards(output) == files
    kept = [path for path in before if path.stat().st_mtime_ns == before[path]]
    assert files[0] in kept and files[4] in kept and files[2] not in kept
    assert not list((output / "predictions").glob(".part-*"))


def test_other_input_or_another_model_is_refused(call, tmp_path):
    folder, output = folder_of(tmp_path / "in", 4), tmp_path / "out"
    assert call(*asked(folder, output, "--shard_rows=3"))[0] == 0
    whole = rows(output)

    def refused(*words, options=()):
        code, _, lines = call(*asked(folder, output, *options))
        assert code == 2 and len(lines) == 1, lines
        assert all(word in lines[0] for word in (*words, "use another --output")), lines

    refused("predict.margin: 0.1 then, 0.2 now", options=("--config.predict.margin=0.2",))
    refused("shard_rows: 3 then, 2 now", options=("--shard_rows=2",))
    refused("program: 'onnxruntime' then, 'jax' now", options=("--engine=local",))
    refused("digest: ", options=("--workdir=zoo/digits",))
    (folder / "4.png").write_bytes(encoded(4))
    refused("4 pictures", "5 of")
    (folder / "4.png").unlink()
    os.utime(folder / "3.png", ns=(1, 1))  # as if it had been written anew
    refused("but not the same ones")
    assert rows(output) == whole
    (output / "manifest.json").unlink()
    refused("holds predictions, but no manifest.json")


def test_two_at_once_are_refused(call, tmp_path):
    folder, output = folder_of(tmp_path / "in", 1), tmp_path / "out"
    output.mkdir()
    with open(output / ".lock", "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        code, _, lines = call(*asked(folder, output))
    assert code == 2 and f"another process predicts into {output}" in lines[0]
    assert call(*asked(folder, output))[0] == 0


def test_a_full_disk_stops_in_one_line(call, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "predictions")

    folder, output = folder_of(tmp_path / "in", 3), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        code, _, lines = call(*asked(folder, output))
    assert code == 2 and "No space left" in lines[0] and "the same command resumes" in lines[0]
    assert not shards(output)
    assert call(*asked(folder, output))[0] == 0 and len(rows(output)) == 3


def test_killed_twice_no_row_is_missing_and_none_is_there_twice(call, tmp_path):
    folder, output = folder_of(tmp_path / "in", 600), tmp_path / "out"
    assert call(*asked(folder, tmp_path / "whole", "--shard_rows=6"))[0] == 0
    command = [sys.executable, "main.py", *asked(folder, output, "--shard_rows=6")]
    for wanted in (1, 20):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while len(shards(output)) < wanted and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert wanted <= len(shards(output)) < 100
    done = {path: path.stat().st_mtime_ns for path in shards(output)}
    last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert last.returncode == 0, last.stderr
    assert f"{6 * len(done)} of 600 pictures are done already" in last.stdout
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
    assert rows(output) == rows(tmp_path / "whole")  # `rows` counts
