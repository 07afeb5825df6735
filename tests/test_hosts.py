"""Two processes of two devices give what one process of four gives, and count every row once."""

import json
import shutil

import numpy as np
import pytest

from jaxvision import train
from tests import hosts_program, tiny_systems
from tests.processes import ended, start, start_pair


def train_fer(folder, **overrides):
    """The run of `streaming` and `split`, in one process on one device."""
    overrides = {**hosts_program.SGD, **hosts_program.QUIET, **overrides}
    train.train(tiny_systems.fer_config(**overrides), str(folder))


def both(tmp_path_factory, *names):
    """(folder of two processes, folder of one, what the two and the one said)."""
    two, one = (tmp_path_factory.mktemp(name) for name in ("two", "one"))
    if "streaming" in names:
        for folder in (two, one):  # one process of one device begins it, on resident data
            train_fer(folder / "streaming", data__resident="true", train__steps=3)
    program = ["-m", "tests.hosts_program"]
    processes = start_pair([*program, two, ",".join(names)])
    processes.append(start([*program, one, ",".join(names)], devices=4))
    told = ended(processes, seconds=420)
    assert [code for code, _, _ in told] == [0, 0, 0], told
    return two, one, told


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    return both(tmp_path_factory, "unet")


@pytest.fixture(scope="module")
def fer(tmp_path_factory):
    return both(tmp_path_factory, "streaming", "split")


@pytest.fixture(scope="module")
def ram(tmp_path_factory):
    return both(tmp_path_factory, "ram", "dealt")


FIXTURES = {"unet": "unet", "streaming": "fer", "split": "fer", "ram": "ram"}


@pytest.fixture
def trained(request, name):
    """What `both` gives for a run."""
    return request.getfixturevalue(FIXTURES[name])


@pytest.mark.parametrize("name", hosts_program.RUNS)
def test_losses_and_parameters_are_those_of_one_process(trained, name):
    two, one, _ = trained
    a, b = hosts_program.losses(two / name), hosts_program.losses(one / name)
    assert len(a) == hosts_program.RUNS[name]().train.steps
    np.testing.assert_allclose(a, b, rtol=1e-4)
    with np.load(two / f"{name}.npz") as a, np.load(one / f"{name}.npz") as b:
        assert a.files == b.files
        for leaf in a.files:
            np.testing.assert_allclose(a[leaf], b[leaf], rtol=1e-3, atol=1e-5, err_msg=leaf)


def test_a_run_that_one_process_began_goes_on_with_the_same_batches(fer, tmp_path):
    train_fer(tmp_path)
    resumed, whole = (hosts_program.losses(f) for f in (fer[0] / "streaming", tmp_path))
    np.testing.assert_allclose(resumed, whole, rtol=1e-4)


def test_a_run_of_two_processes_goes_on_in_one(fer, tmp_path):
    train_fer(tmp_path, train__steps=9)
    shutil.copytree(fer[0] / "split", tmp_path / "resumed")
    train_fer(tmp_path / "resumed", train__steps=9)
    resumed, whole = (hosts_program.losses(f) for f in (tmp_path / "resumed", tmp_path))
    assert len(resumed) == 9
    np.testing.assert_allclose(resumed, whole, rtol=1e-4)


@pytest.mark.parametrize("gib", ["local", "all"])
def test_data_split_over_devices_give_the_batches_of_whole_data(ram, gib):
    for folder in ram[:2]:
        with (
            np.load(folder / f"dealt_{gib}.npz") as split,
            np.load(folder / "dealt_whole.npz") as a,
        ):
            assert str(a["where"]) == "resident on the device"
            assert "split over" in str(split["where"])
            assert a.files == split.files and len(a.files) > 8
            for name in set(a.files) - {"where"}:
                np.testing.assert_array_equal(a[name], split[name], err_msg=name)


def test_what_is_split_over_hosts_is_told(fer, ram):
    out = fer[2][0][1]
    assert "training data: resident, split over all devices" in out and "on each of 4" in out
    with np.load(ram[0] / "dealt_local.npz") as split:
        assert "each process' devices" in str(split["where"]) and "of 2" in str(split["where"])


@pytest.mark.parametrize("name, examples", [("unet", 5), ("ram", 65)])
def test_evaluation_counts_every_row_once(trained, name, examples):
    two, one, _ = trained
    a, b = (json.loads((f / name / "evaluation.json").read_text()) for f in (two, one))
    assert a["examples"] == b["examples"] == examples
    assert a["metrics"].keys() == b["metrics"].keys()
    for metric, value in b["metrics"].items():
        np.testing.assert_allclose(a["metrics"][metric], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", hosts_program.RUNS)
def test_process_0_alone_talks_and_writes(trained, name):
    two, one, told = trained
    (_, first, noise), (_, second, _), _ = told
    assert "devices: 4 x cpu (cpu), of 2 processes" in first and second == ""
    assert not noise, noise
    a, b = (
        sorted(
            str(p.relative_to(folder / name))
            for p in (folder / name).rglob("*")
            if "checkpoints" not in p.parts and "events.out" not in p.name
        )
        for folder in (two, one)
    )
    assert a == b
    steps = [
        json.loads(line)["step"]
        for line in (two / name / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert steps == sorted(set(steps))
