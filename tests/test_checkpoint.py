"""What is left when checkpoints are damaged or cannot be written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxvision import train
from jaxvision.checkpoint import open_checkpoints
from jaxvision.errors import UserError
from jaxvision.trained import load_trained
from tests.tiny_ram import ram_config

ROOT = Path(__file__).parents[1]
OPTIONS = dict(
    train__steps=6,
    train__steps_per_call=1,
    checkpoint__keep_every_steps=2,
    checkpoint__every_steps=2,
    eval__every_epochs=1.2,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir with the steps 2, 4 and 6, the last of which is the best."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train.train(ram_config(**OPTIONS), str(folder))
    assert open_checkpoints(str(folder), False).steps() == [2, 4, 6]
    return folder


@pytest.fixture
def copied(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def damage(folder, step, pattern, how):
    paths = [p for p in (folder / "checkpoints" / str(step)).glob(pattern) if p.is_file()]
    assert paths
    for path in paths:
        if how == "missing":
            path.unlink()
        else:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2] if how == "cut" else b"foreign " * 9)


@pytest.mark.parametrize("how", ["missing", "cut", "foreign"])
@pytest.mark.parametrize(
    "pattern", ["notes/metadata", "state/_METADATA", "state/manifest.ocdbt", "state/**/d/*"]
)
def test_an_older_step_is_used_and_named(copied, capfd, pattern, how):
    damage(copied, 6, pattern, how)
    capfd.readouterr()
    assert load_trained(ram_config(**OPTIONS), str(copied)).step == 4
    out, err = capfd.readouterr()
    assert "checkpoint 6 cannot be used (a file is" in out and "step 4 is, instead" in out
    assert not err


def test_damaged_scores_only_cost_their_step_the_title(copied):
    damage(copied, 6, "metrics/metrics", "cut")
    assert load_trained(ram_config(**OPTIONS), str(copied)).step in (4, 6)


def test_a_run_goes_on_from_the_older_step_and_ends_the_same(run, copied, capsys):
    damage(copied, 6, "notes/metadata", "cut")
    damage(copied, 6, "metrics/metrics", "cut")
    (copied / "finished.json").unlink()
    train.train(ram_config(**OPTIONS), str(copied))
    out = capsys.readouterr().out
    assert "resumed from step 4 of 6" in out and "checkpoint 6 cannot be used" in out
    assert (copied / "checkpoints" / "damaged_6").is_dir()
    whole, again = (load_trained(ram_config(**OPTIONS), str(f)).variables for f in (run, copied))
    jax.tree.map(np.testing.assert_array_equal, whole, again)


def test_one_line_where_no_step_is_intact(copied):
    for step in (2, 4, 6):
        damage(copied, step, "notes/metadata", "missing")
    with pytest.raises(UserError, match="no checkpoint in .* can be used .*2: a file is missing"):
        load_trained(ram_config(**OPTIONS), str(copied))
    (copied / "finished.json").unlink()
    with pytest.raises(UserError, match="no checkpoint in"):
        train.train(ram_config(**OPTIONS), str(copied))


def test_a_step_that_was_asked_for_is_not_replaced(copied):
    damage(copied, 6, "notes/metadata", "missing")
    with pytest.raises(UserError, match="6: a file is missing"):
        load_trained(ram_config(**OPTIONS), str(copied), step=6)


def test_strange_entries_are_no_steps(copied):
    folder = copied / "checkpoints"
    (folder / "9").write_text("a file")
    (folder / "abc").mkdir()
    (folder / "8").mkdir()  # empty
    assert load_trained(ram_config(**OPTIONS), str(copied)).step == 6


LIMITED = """
import resource, sys
from tests.tiny_ram import ram_config
from jaxvision import checkpoint, failures, train
config = ram_config(train__steps=int(sys.argv[2]), checkpoint__every_steps=2,
                    train__steps_per_call=1, eval__every_epochs=1000.0)
save = checkpoint.Checkpoints.save
def limited_save(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    save(*arguments)
if len(sys.argv) > 3:
    checkpoint.Checkpoints.save = limited_save
try:
    train.train(config, sys.argv[1])
except Exception as error:
    code, line = failures.told(error)
    failures.last_word(line)
    sys.exit(code)
"""


def limited(*arguments):
    """A tiny run whose files may not grow beyond a limit, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_full_disk_is_one_line_and_what_was_saved_stays(tmp_path):
    assert limited(tmp_path / "run", 2).returncode == 0
    done = limited(tmp_path / "run", 40, 1000)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and "file too large" in lines[0].lower(), done.stderr
    assert "stays" in lines[0] and "resumes" in lines[0]
    done = limited(tmp_path / "run", 6)
    assert done.returncode == 0 and "resumed from step 2 of 6" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "line", ["not JSON", '{"train/loss": 1.0}', "[1, 2]", '{"step": "two"}', "\x00\xff", ""]
)
def test_odd_lines_of_metrics_do_not_block_a_resume(copied, capsys, line):
    with open(copied / "metrics.jsonl", "ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    options = {**OPTIONS, "train__steps": 7}
    train.train(ram_config(**options), str(copied))
    records = [json.loads(x) for x in (copied / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 7
    assert "resumed from step 6 of 7" in capsys.readouterr().out
