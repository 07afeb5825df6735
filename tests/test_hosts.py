"""Two processes of two devices give what one process of four gives, and count every row once."""

import json

import numpy as np
import pytest

from jaxvision import train
from tests import hosts_program
from tests.processes import ended, start, start_pair
from tests.tiny import train_in


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of two processes, folder of one, what the two and the one said)."""
    two, one = (tmp_path_factory.mktemp(name) for name in ("two", "one"))
    for folder in (two, one):  # one process of one device begins it, on resident data
        begun = hosts_program.RUNS["unet_streaming"]()
        begun.data.resident, begun.train.steps = "true", 3
        train.train(begun, str(folder / "unet_streaming"))
    program = ["-m", "tests.hosts_program"]
    processes = start_pair([*program, two]) + [start([*program, one], devices=4)]
    told = ended(processes, seconds=420)
    assert [code for code, _, _ in told] == [0, 0, 0], told
    return two, one, told


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


def test_a_run_that_one_process_began_goes_on_with_the_same_batches(trained):
    two, _, _ = trained
    resumed, whole = (hosts_program.losses(two / n) for n in ("unet_streaming", "unet"))
    np.testing.assert_allclose(resumed, whole, rtol=1e-4)


def test_a_run_of_two_processes_goes_on_in_one(trained):
    two, one, _ = trained
    for folder in (two, one):
        train_in(folder / "unet_split", **hosts_program.SGD, train__steps=5)
    a, b = (hosts_program.losses(folder / "unet_split") for folder in (two, one))
    assert len(a) == 5
    np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize("gib", ["local", "all"])
def test_data_split_over_devices_give_the_batches_of_whole_data(trained, gib):
    for folder in trained[:2]:
        with (
            np.load(folder / f"dealt_{gib}.npz") as split,
            np.load(folder / "dealt_whole.npz") as a,
        ):
            assert str(a["where"]) == "resident on the device"
            assert "split over" in str(split["where"])
            assert a.files == split.files and len(a.files) > 8
            for name in set(a.files) - {"where"}:
                np.testing.assert_array_equal(a[name], split[name], err_msg=name)


def test_what_is_split_over_hosts_is_told(trained):
    out = trained[2][0][1]
    assert "training data: resident, split over all devices" in out and "on each of 4" in out
    with np.load(trained[0] / "dealt_local.npz") as split:
        assert "each process' devices" in str(split["where"]) and "of 2" in str(split["where"])


def test_evaluation_counts_every_row_once(trained):
    two, one, _ = trained
    for name, examples in (("unet", 18), ("ram", 13)):
        a, b = (json.loads((f / name / "evaluation.json").read_text()) for f in (two, one))
        assert a["examples"] == b["examples"] == examples
        assert a["metrics"].keys() == b["metrics"].keys()
        for metric, value in b["metrics"].items():
            np.testing.assert_allclose(a["metrics"][metric], value, rtol=1e-3, atol=1e-5)


def test_process_0_alone_talks_and_writes(trained):
    two, one, told = trained
    (_, first, noise), (_, second, _), _ = told
    assert "devices: 4 x cpu (cpu), of 2 processes" in first and second == ""
    assert not noise, noise
    for name in hosts_program.RUNS:
        a, b = (
            sorted(
                str(p.relative_to(folder / name))
                for p in (folder / name).rglob("*")
                if "checkpoints" not in p.parts and "events.out" not in p.name
            )
            for folder in (two, one)
        )
        if name not in ("unet_split",):  # another test goes on with it
            assert a == b
        steps = [
            json.loads(line)["step"]
            for line in (two / name / "metrics.jsonl").read_text().splitlines()
            if "train/loss" in line
        ]
        assert steps == sorted(set(steps))
