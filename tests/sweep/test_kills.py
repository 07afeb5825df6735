"""kill -9 of the runner, of a trial, of both: the same command goes on, nothing is lost or twice.

The fakes save after every step, so each step of each trial must have been done exactly once.
"""

import os
import signal

import pytest

from tests.sweep import fakes

SLOW = {"FAKE_PAUSE": "0.05"}
STEPS = 20  # of a trial: a second
ARGUMENTS = (fakes.RATE, "--trials=4", "--workers=2", "--prune=none", "--config.train.steps=20")


def kill(process):
    os.kill(process, signal.SIGKILL)


def under_way(workdir):
    """{trial: process}, once two have done some steps."""

    def both():
        found = fakes.at_work(workdir)
        far = [len(fakes.steps(workdir / "trials" / str(number))) > 3 for number in found]
        return found if len(found) == 2 and all(far) else None

    return fakes.wait_for(both)


def check_all_is_there_once(workdir):
    rows = fakes.table(workdir)
    assert sorted(rows) == [0, 1, 2, 3]
    assert {row["state"] for row in rows.values()} == {"complete"}
    assert sorted(p.name for p in (workdir / "trials").iterdir()) == ["0", "1", "2", "3"]
    for number in rows:
        assert fakes.steps(workdir / "trials" / str(number)) == [*range(1, STEPS + 1)]
    assert not [*workdir.glob("trials/*/overlap.txt")]


def finish(workdir, **environment):
    done = fakes.launch(workdir, *ARGUMENTS, **SLOW, **environment)
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0, out
    return out


@pytest.mark.parametrize("killed", ["runner", "trials", "both"])
def test_kill(tmp_path, killed):
    workdir = tmp_path / "sweep"
    runner = fakes.launch(workdir, *ARGUMENTS, **SLOW)
    trials = under_way(workdir)
    if killed != "trials":
        kill(runner.pid)
        runner.wait()
    if killed != "runner":
        for process in trials.values():
            kill(process)
    out = runner.communicate(timeout=60)[0] if killed == "trials" else finish(workdir)
    if killed == "trials":
        assert runner.returncode == 0 and out.count("its process was killed (-9)") == 2
    else:
        assert "trial 0 goes on" in out and "trial 1 goes on" in out
    check_all_is_there_once(workdir)


def test_a_trial_saves_and_ends_when_its_runner_is_killed(tmp_path):
    workdir = tmp_path / "sweep"
    runner = fakes.launch(workdir, *ARGUMENTS, **SLOW)
    under_way(workdir)
    kill(runner.pid)
    runner.wait()
    fakes.wait_for(lambda: not fakes.at_work(workdir))
    said = (workdir / "trials" / "0" / "output.txt").read_text()
    assert "SIGTERM: saved step" in said


def test_a_runner_that_is_killed_again_and_again(tmp_path):
    workdir, kills = tmp_path / "sweep", 0

    def done():
        return sum(len(fakes.steps(folder)) for folder in workdir.glob("trials/*"))

    while True:
        runner, limit = fakes.launch(workdir, *ARGUMENTS, **SLOW), done() + 5 + kills
        fakes.wait_for(lambda r=runner, n=limit: r.poll() is not None or done() > n)
        if runner.poll() is not None:
            break
        kill(runner.pid)
        runner.wait()
        kills += 1
    assert runner.returncode == 0 and kills > 2
    check_all_is_there_once(workdir)


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    workdir = tmp_path / "sweep"
    runner = fakes.launch(workdir, *ARGUMENTS, **SLOW)
    under_way(workdir)
    runner.send_signal(signal.SIGINT)
    out, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130 and "SIGINT: what was under way is saved" in out
    assert not fakes.at_work(workdir)
    finish(workdir)
    check_all_is_there_once(workdir)


def test_a_scheduler_signals_every_process(tmp_path):
    workdir = tmp_path / "sweep"
    runner = fakes.launch(workdir, *ARGUMENTS, **SLOW)
    for process in [*under_way(workdir).values(), runner.pid]:
        os.kill(process, signal.SIGTERM)
    out, _ = runner.communicate(timeout=30)
    assert runner.returncode == 143, out
    for number in (0, 1):
        said = (workdir / "trials" / str(number) / "output.txt").read_text()
        assert "SIGTERM: saved step" in said
    finish(workdir)
    check_all_is_there_once(workdir)


def test_a_trial_that_is_killed_again_and_again_fails_alone(tmp_path):
    workdir = tmp_path / "sweep"
    slow = {"FAKE_PAUSE": "30"}
    runner = fakes.launch(workdir, fakes.RATE, "--trials=1", "--prune=none", **slow)
    killed = set()
    while runner.poll() is None:
        for process in set(fakes.at_work(workdir).values()) - killed:
            killed.add(process)
            kill(process)
    out = runner.communicate()[0]
    assert runner.returncode == 2 and len(killed) == 4, out
    assert "1 trials failed (0; the last: main.py ended with -9" in out


def test_two_runners_share_the_trials(tmp_path):
    workdir = tmp_path / "sweep"
    both = [fakes.launch(workdir, *ARGUMENTS, **SLOW) for _ in range(2)]
    told = [runner.communicate(timeout=60)[0] for runner in both]
    assert [runner.returncode for runner in both] == [0, 0], told
    check_all_is_there_once(workdir)
    assert [out.count(" of 4: ") for out in told] == [2, 2]


def test_the_trials_of_a_host_that_is_gone_go_on_elsewhere(tmp_path):
    workdir = tmp_path / "sweep"
    runner = fakes.launch(workdir, *ARGUMENTS, **SLOW, FAKE_HOST="a")
    under_way(workdir)
    kill(runner.pid)
    runner.wait()
    out = finish(workdir, FAKE_HOST="b")
    assert "trial 0 goes on" in out and "trial 1 goes on" in out
    check_all_is_there_once(workdir)


def test_hosts_let_each_other_be(tmp_path):
    workdir = tmp_path / "sweep"
    hosts = [fakes.launch(workdir, *ARGUMENTS, **SLOW, FAKE_HOST=name) for name in "ab"]
    told = [runner.communicate(timeout=60)[0] for runner in hosts]
    assert [runner.returncode for runner in hosts] == [0, 0], told
    assert not any("goes on in" in out or "taken it over" in out for out in told), told
    check_all_is_there_once(workdir)
