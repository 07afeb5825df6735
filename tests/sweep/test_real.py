"""A sweep of a real run: a tiny network, to the end and on."""

import json

import pytest

from jaxvision.sweep import __main__ as command
from tests.sweep import fakes

TINY = (
    "--config=configs/rat.py",
    "--config.model.widths=(4,4,4)",
    "--config.data.synthetic_examples.train=16",
    "--config.data.synthetic_examples.val=8",
    "--config.data.synthetic_examples.test=8",
    "--config.batch_size=8",
    "--config.train.steps=4",
    "--config.eval.every_epochs=1",
    "--config.eval.figure_rows=0",
    "--config.film.max_frames=2",
)
SEARCH = "--search.optimizer.learning_rate=log:1e-4:1e-2"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep of one trial."""
    folder = tmp_path_factory.mktemp("sweep")
    assert command.main([*TINY, f"--workdir={folder}", SEARCH, "--trials=1"]) == 0
    return folder


def test_a_trial_is_a_run_that_has_not_read_test(swept):
    rows = fakes.table(swept)
    for number, row in rows.items():
        workdir = swept / "trials" / str(number)
        lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
        seen = [x["val/mean_pixel_error"] for x in lines if "val/mean_pixel_error" in x]
        assert float(row["value"]) == pytest.approx(min(seen)) and len(seen) == 2
        assert not any(name.startswith("test/") for x in lines for name in x)
        assert not (workdir / "evaluation.json").exists()
        config = json.loads((workdir / "config.json").read_text())
        assert config["optimizer"]["learning_rate"] == float(row["optimizer.learning_rate"])


def test_a_trial_can_be_gone_on_with_by_hand(swept, call):
    workdir = swept / "trials" / "0"
    code, out, _ = call(f"--workdir={workdir}")
    assert code == 0 and "resumed from step 4 of 4" in out
    assert json.loads((workdir / "evaluation.json").read_text())["split"] == "test"
    code, out, _ = call(f"--workdir={workdir}")
    assert code == 0 and "nothing is left to do" in out


def test_a_metric_that_is_none_is_told_before_the_first_trial(tmp_path, capfd):
    for change, word in (
        ("--config.checkpoint.best_metric=accuracy", "accuracy"),
        ("--config.data.path=/nowhere.npz", "/nowhere.npz"),
        ("--config.data.synthetic_examples.val=0", "val"),
    ):
        capfd.readouterr()
        assert command.main([*TINY, f"--workdir={tmp_path / 'sweep'}", SEARCH, change]) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1 and word in lines[0], lines
        assert not (tmp_path / "sweep").exists()
