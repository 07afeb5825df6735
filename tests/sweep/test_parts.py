"""GPUs of workers, scores of runs, one process a workdir, and rows of trials."""

import json
import math
import os
import signal
import threading

import optuna
import pytest

from jaxvision.sweep import figures, gpus, processes, sampler, scores, space, table, trial
from tests.sweep import fakes

ARGUMENTS = ("--config.optimizer.learning_rate=1e-3", "--config.train.steps=4")


@pytest.mark.parametrize(
    ("workers", "found", "expected"),
    [
        (2, [], [None, None]),
        (1, ["0", "1"], ["0,1"]),
        (2, ["0", "1", "2", "3"], ["0,2", "1,3"]),
        (3, ["4", "6"], ["4", "6", "4"]),
    ],
)
def test_workers_share_out_the_gpus(workers, found, expected):
    shared = gpus.share_out(workers, found, {})
    assert [environment.get("CUDA_VISIBLE_DEVICES") for environment in shared] == expected
    fractions = [e.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for e in shared]
    assert fractions == (["0.450"] * 3 if workers > len(found) > 0 else [None] * workers)


def test_the_gpus_are_those_that_the_scheduler_gave():
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": "2,5"}) == ["2", "5"]
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_validations_are_read_while_they_are_written(tmp_path):
    assert scores.validations(tmp_path, "iou") == []
    lines = [
        {"step": 5, "train/loss": 1.0},
        {"step": 10, "val/iou": 0.25},
        {"step": 20, "val/iou": None},
        {"step": 30, "val/iou": 0.5},
        {"step": 30, "val/iou": 0.5},  # again, after a kill
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 40, "val/iou": 0.')
    found = scores.validations(tmp_path, "iou")
    assert found[0] == 0.25 and math.isnan(found[1]) and found[2:] == [0.5]
    assert scores.best_so_far(found, True) == [0.25, 0.25, 0.5]
    assert scores.best_so_far(found, False) == [0.25, 0.25, 0.25]
    assert scores.best_so_far([math.nan, 2.0], False)[1] == 2.0


def test_one_process_a_workdir(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "MAIN", fakes.HERE / "fake_main.py")
    first = processes.start(tmp_path, ARGUMENTS, {"FAKE_PAUSE": "30"})
    assert processes.start(tmp_path, ARGUMENTS) is None
    fakes.wait_for(lambda: (tmp_path / processes.LOCK).read_text() == str(first.pid))
    first.kill()
    first.wait()
    second = processes.start(tmp_path, ARGUMENTS)
    assert second.wait() == 0 and processes.last_line(tmp_path) == "results: all there"


def test_a_run_is_started_again_where_it_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "MAIN", fakes.HERE / "fake_main.py")
    monkeypatch.setenv("FAKE_PAUSE", "0.2")

    def kill_it_once():
        fakes.wait_for(lambda: len(fakes.steps(tmp_path)) == 2)
        os.kill(int((tmp_path / "at_work").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill_it_once)
    killer.start()
    processes.run(tmp_path, ARGUMENTS)
    killer.join()
    steps = (tmp_path / "steps.txt").read_text().splitlines()
    assert [line.split()[0] for line in steps] == ["1", "2", "3", "4"]
    assert len({line.split()[1] for line in steps}) == 2


def test_a_run_that_fails_is_told_with_its_last_line(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "MAIN", fakes.HERE / "fake_main.py")
    with pytest.raises(RuntimeError, match="ended with 2: error: not enough memory"):
        processes.run(tmp_path, ["--config.optimizer.learning_rate=8e-3"])


def test_what_ends_by_a_signal_was_stopped():
    assert all(map(processes.was_stopped, (-signal.SIGKILL, -signal.SIGTERM, 143, 130, 137)))
    assert not any(map(processes.was_stopped, (0, 1, 2, os.EX_USAGE)))


def test_a_trial_whose_value_another_host_is_about_to_tell_is_under_way(tmp_path):
    rate = optuna.distributions.FloatDistribution(0.1, 1.0)
    search = space.Space({}, {"rate": rate}, {}, {})
    plan = trial.Plan(tmp_path, (), "error", False, (0,))
    study = optuna.create_study(sampler=sampler.Sampler(search, 0))
    for told in (True, False):
        asked = study.ask()
        sampler.suggest(asked, search)
        asked.set_user_attr(trial.OUTCOME, "complete")
        if told:
            study.tell(asked, 0.5)
    rows = table.rows(study, plan, search)
    assert [(row["state"], row["value"]) for row in rows] == [("complete", 0.5), ("running", None)]
    assert figures.write(tmp_path / "figures", study, rows, search.distributions, "val/error")
