"""Sweeps over trials that take no time: what is tried, stopped, counted and written."""

import json
import shlex
import sqlite3
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvision.config.check import flatten
from jaxvision.sweep import command, hparams, runners
from jaxvision.sweep import study as study_lib
from tests.sweep import fakes
from tests.sweep.fakes import RATE


@pytest.fixture
def sweep(monkeypatch, capfd, tmp_path):
    """sweep(*arguments): in this process, in <tmp_path>/sweep."""
    fakes.use_fakes(monkeypatch)
    monkeypatch.setenv("FAKE_PAUSE", "0.01")
    return lambda *arguments: fakes.sweep(capfd, tmp_path / "sweep", *arguments)


def given(folder):
    """What main.py was given in a workdir, {argument: value}."""
    arguments = json.loads((folder / "arguments.json").read_text())
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_best_command_is_the_best_trial(sweep, tmp_path):
    code, out, _ = sweep(RATE, "--search.model.name=choice:heatmap,coordinate", "--trials=8")
    assert code == 0
    rows = fakes.table(tmp_path / "sweep")
    done = [row for row in rows.values() if row["state"] == "complete"]
    best = min(done, key=lambda row: float(row["value"]))
    assert len(rows) == 8 and f"best: trial {best['trial']}," in out
    assert len({row["optimizer.learning_rate"] for row in rows.values()}) == 8
    told = (tmp_path / "sweep" / "best.sh").read_text().splitlines()[1]
    rate, name = best["optimizer.learning_rate"], best["model.name"]
    assert f"--config.optimizer.learning_rate={rate} --config.model.name={name}" in told
    assert told in out and "--test" not in told
    trial = given(tmp_path / "sweep" / "trials" / best["trial"])
    assert trial["config.model.name"] == name and trial["test"] == "false"
    assert trial["processes"] == "1"  # and not of those that a scheduler started
    # The mean is of what the fake makes of a rate: the sweep goes towards 1e-3.
    assert abs(np.log10(float(rate)) + 3) < 0.5


def test_the_first_trial_has_the_values_of_the_config(sweep, tmp_path):
    sweep(RATE, "--search.augment.noise=float:0:12", "--trials=1")
    row = fakes.table(tmp_path / "sweep")[0]
    assert (row["optimizer.learning_rate"], row["augment.noise"]) == ("0.003", "6.0")
    assert row["own"] == "True"


def test_the_table_is_written_in_two_forms_with_pictures(sweep, tmp_path):
    sweep(RATE, "--search.model.widths=choice:(16,32,48),(8,8,8)", "--trials=7", "--prune=none")
    folder = tmp_path / "sweep"
    lines = (folder / "trials.md").read_text().splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("| trial | val/mean_pixel_error | optimizer.learning_rate |")
    values = [float(line.split("|")[2]) for line in lines[2:]]
    assert values == sorted(values)
    for name in ("history", "slices", "importance"):
        picture = np.asarray(Image.open(folder / "figures" / f"{name}.png"))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_seeds_give_mean_and_spread(sweep, tmp_path):
    sweep(RATE, "--trials=2", "--seeds=3", "--config.seed=5", "--prune=none")
    folder = tmp_path / "sweep"
    row = fakes.table(folder)[1]
    scores = [float(score) for score in row["scores"].split()]
    assert float(row["value"]) == pytest.approx(np.mean(scores), rel=1e-4)
    assert float(row["spread"]) == pytest.approx(0.1, rel=1e-4)  # the fake adds .1 a seed
    for seed in ("5", "6", "7"):
        assert given(folder / "trials" / "1" / f"seed_{seed}")["config.seed"] == seed
    assert "± 0.1" in (folder / "trials.md").read_text()


def test_a_grid_is_gone_through_once(sweep, tmp_path):
    code, out, _ = sweep(
        "--search.optimizer.learning_rate=grid:1e-3,2e-3,3e-3,4e-3",
        "--search.model.name=grid:heatmap,coordinate",
        "--prune=none",
    )
    rows = fakes.table(tmp_path / "sweep").values()
    points = {(row["optimizer.learning_rate"], row["model.name"]) for row in rows}
    assert code == 0 and len(rows) == len(points) == 8


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_hopeless_trials_are_stopped_and_saved(sweep, tmp_path, monkeypatch, pruner):
    monkeypatch.setenv("FAKE_PAUSE", "0.04")
    code, out, _ = sweep(
        "--search.optimizer.learning_rate=grid:1e-3,2e-3,1.5e-3,1.1e-3,2.5e-3,1.4e-3,1e-6,2e-6,3e-6",
        f"--prune={pruner}",
    )
    rows = fakes.table(tmp_path / "sweep")
    stopped = [number for number, row in rows.items() if row["state"] == "stopped early"]
    assert code == 0 and stopped and rows[0]["state"] == "complete"
    if pruner == "median":
        assert {6, 7, 8} <= set(stopped)
        folder = tmp_path / "sweep" / "trials" / "7"
        assert "SIGTERM: saved step" in (folder / "output.txt").read_text()
        assert 2 <= len(fakes.steps(folder)) < 20
    assert "stopped early: after" in out


def test_without_a_pruner_nothing_is_stopped(sweep, tmp_path):
    sweep("--search.optimizer.learning_rate=grid:1e-3,1e-3,2e-3,3e-3,4e-3,1e-6", "--prune=none")
    # The same value twice is a mistake, told before anything begins.
    assert not (tmp_path / "sweep").exists()
    sweep("--search.optimizer.learning_rate=grid:1e-3,2e-3,3e-3,4e-3,5e-3,1e-6", "--prune=none")
    assert {row["state"] for row in fakes.table(tmp_path / "sweep").values()} == {"complete"}


def test_a_diverging_trial_is_an_answer_and_a_failing_one_is_tried_again(
    sweep, tmp_path, monkeypatch
):
    grid = "--search.optimizer.learning_rate=grid:1e-3,6e-3,8e-3"
    code, out, lines = sweep(grid)
    rows = fakes.table(tmp_path / "sweep")
    assert [rows[n]["state"] for n in range(3)] == ["complete", "diverged", "failed"]
    assert code == 2 and len(lines) == 1 and "not enough memory" in lines[0]
    assert "trial 1 diverged: loss or gradient of step 3 is not finite" in out
    monkeypatch.setenv("FAKE_MEMORY", "more")
    code, out, lines = sweep(grid)
    assert code == 0 and "trial 2 goes on" in out and not lines
    assert fakes.table(tmp_path / "sweep")[2]["state"] == "complete"


def test_more_trials_may_be_asked_for_and_another_search_may_not(sweep, tmp_path):
    assert sweep(RATE, "--trials=2")[0] == 0
    assert sweep(RATE, "--trials=3")[0] == 0
    assert len(fakes.table(tmp_path / "sweep")) == 3
    code, out, _ = sweep(RATE, "--trials=3")
    assert code == 0 and "3 done" in out and "trial 3" not in out
    for other in ("--config.batch_size=16", "--seeds=2", "--search.augment.noise=float:0:9"):
        code, _, lines = sweep(RATE, other)
        assert code == 2 and len(lines) == 1 and "was begun with another config" in lines[0]
    assert other.removeprefix("--").partition("=")[0] in lines[0]


def test_values_that_cannot_be_together_are_passed_over(sweep, tmp_path):
    code, out, _ = sweep(
        RATE,
        "--search.model.name=choice:heatmap,coordinate",
        "--search.model.widths=choice:(16,32,48),(16,32,64,64)",
        "--trials=10",
    )
    found = fakes.table(tmp_path / "sweep")
    assert code == 0 and len(found) == 10 and "2 of 8 combinations cannot be" in out
    assert max(found) > 9  # some draws were
    rows = found.values()
    assert ("heatmap", "(16, 32, 64, 64)") not in {
        (r["model.name"], r["model.widths"]) for r in rows
    }


def test_a_trial_too_many_is_given_up(sweep, tmp_path, monkeypatch):
    ask = study_lib.ask

    def ask_with_another_host(study, runner, space):
        if len(study_lib.counted(study)) == 1:
            other, _ = ask(study, runner, space)
            study.tell(other, 1.0)
        return ask(study, runner, space)

    monkeypatch.setattr(study_lib, "ask", ask_with_another_host)
    assert sweep(RATE, "--trials=2")[0] == 0
    assert sorted(fakes.table(tmp_path / "sweep")) == [0, 1]
    assert not (tmp_path / "sweep" / "trials" / "2").exists()


def test_a_database_holds_the_study_as_well(sweep, tmp_path):
    address = f"sqlite:///{tmp_path}/studies.db"
    assert sweep(RATE, "--trials=2", f"--storage={address}")[0] == 0
    assert sweep(RATE, "--trials=3", f"--storage={address}")[0] == 0
    assert not (tmp_path / "sweep" / "study.journal").exists()
    with sqlite3.connect(tmp_path / "studies.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (3,)
    code, _, lines = sweep(RATE, "--storage=nosql://here")
    assert code == 2 and len(lines) == 1 and "nosql://here" in lines[0]


def test_a_journal_that_a_kill_cut_short_is_read(sweep, tmp_path):
    sweep(RATE, "--trials=2")
    journal = tmp_path / "sweep" / "study.journal"
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 4, "worker')
    assert sweep(RATE, "--trials=3")[0] == 0
    assert len(fakes.table(tmp_path / "sweep")) == 3


def test_tensorboard_shows_the_study(sweep, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import plugin_event_multiplexer
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    sweep(RATE, "--search.model.name=choice:heatmap,coordinate", "--trials=2", "--prune=none")
    folder = tmp_path / "sweep"
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder)).Reload()
    content = multiplexer.PluginRunToTagToContent(metadata.PLUGIN_NAME)
    session = plugin_data_pb2.HParamsPluginData.FromString(
        content["trials/1"][metadata.SESSION_START_INFO_TAG]
    ).session_start_info
    row = fakes.table(folder)[1]
    assert session.hparams["optimizer.learning_rate"].number_value == pytest.approx(
        float(row["optimizer.learning_rate"])
    )
    assert session.hparams["model.name"].string_value == row["model.name"]
    (event,) = multiplexer.Tensors("trials/1", "sweep/mean_pixel_error")
    assert event.tensor_proto.float_val[0] == pytest.approx(float(row["value"]))
    experiment = plugin_data_pb2.HParamsPluginData.FromString(
        content["."][metadata.EXPERIMENT_TAG]
    ).experiment
    assert [info.name for info in experiment.hparam_infos] == [
        "optimizer.learning_rate",
        "model.name",
    ]


def test_without_tensorboard_one_line_says_so(sweep, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams", None)
    monkeypatch.setattr(hparams, "_told", set())
    code, out, _ = sweep(RATE, "--trials=2", "--prune=none")
    assert code == 0 and out.count("HParams are off") == 1
    assert len(fakes.table(tmp_path / "sweep")) == 2


def test_a_runner_of_another_host_is_dead_after_a_silence(monkeypatch, tmp_path):
    class Study:
        user_attrs = {}

        def set_user_attr(self, name, value):
            self.user_attrs[name] = value

    study, clock = Study(), [1000.0]
    monkeypatch.setattr(runners.time, "monotonic", lambda: clock[0])
    here = runners.Runner(study, tmp_path)
    monkeypatch.setattr(runners, "_boot", lambda: "elsewhere")
    there = runners.Runner(study, tmp_path / "not_shared")
    monkeypatch.setattr(runners, "_boot", lambda: here.name.split("/")[1])
    assert there.beat() and here.is_alive(there.name, 0) is None
    clock[0] += runners.PULSE + 1
    assert there.beat() and here.is_alive(there.name, 0) is True
    clock[0] += runners.SILENCE - 1
    assert here.is_alive(there.name, 0) is True
    clock[0] += 2
    assert here.is_alive(there.name, 0) is False
    # On one host no time need pass.
    other = runners.Runner(study, tmp_path)
    assert here.is_alive(other.name, 0) is True
    other.close()
    assert here.is_alive(other.name, 0) is False and here.is_alive("", 0) is False
    # One that has not said its name yet may be about to.
    assert here.is_alive(None, 7) is None
    clock[0] += runners.SILENCE + 1
    assert here.is_alive(None, 7) is False and here.is_alive(None, 8) is None


def test_arguments_reach_the_trials_as_they_were_given(sweep, tmp_path):
    sweep(RATE, "--trials=1", "--config.model.widths=(8, 8, 8)", "--config.data.path=/a b/c.npz")
    trial = given(tmp_path / "sweep" / "trials" / "0")
    assert trial["config.model.widths"] == "(8, 8, 8)" and trial["config.data.path"] == "/a b/c.npz"
    told = (tmp_path / "sweep" / "best.sh").read_text().splitlines()[1]
    argv = [word for word in shlex.split(told) if word.startswith("--config")]
    config = command.parse_config(argv)
    assert flatten(config)["optimizer.learning_rate"] == 0.003
    assert config.data.path == "/a b/c.npz" and tuple(config.model.widths) == (8, 8, 8)
