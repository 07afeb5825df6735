"""The profile of a step counts everything once, under what it is for."""

import pytest

from benchmarks import step_profile
from tests.benchmarks.test_throughput import tiny_config


def test_a_loop_and_what_runs_in_it_are_counted_once():
    events = [(0, 100, "while"), (10, 20, "dot"), (40, 30, "dot"), (45, 5, "add"), (100, 7, "dot")]
    assert step_profile.own_times(events) == {"while": 50, "dot": 20 + 25 + 7, "add": 5}


def test_a_step_is_its_operations():
    times, operations = step_profile.profile(tiny_config(), steps=3)
    result = step_profile.tables(times, operations, top=5)
    assert len(result["longest"]) == 5
    assert sum(result["by_purpose"].values()) == pytest.approx(result["milliseconds"])
    wanted = {"convolutions", "gradients of convolutions", "weight gradients, image by image"}
    assert wanted | {"augmentation", "batch norm", "optimizer and sums"} <= set(
        result["by_purpose"]
    )
    # What ran is of the program that was compiled, and known by its name, but for XLA's loops. In
    # number, not in time: a busy machine stretches any.
    unknown = {name.split(".")[0] for name in times if name not in operations}
    assert all(name in ("while", "call") or name.startswith("wrapped_") for name in unknown)
    assert sum(name in operations for name in times) > 0.95 * len(times)
