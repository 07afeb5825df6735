"""`python -m benchmarks.gpu` on a CPU: every kind of cell, the record and its tables."""

import importlib.util
import json

import jax
import pytest

from benchmarks import counterparts, jax_side
from benchmarks.gpu import cells, recipes, table
from benchmarks.gpu.record import Cell, Part, Record, measure
from benchmarks.gpu.systems import SYSTEMS
from benchmarks.timing import machine
from jaxvision.config.check import check
from jaxvision.errors import UserError
from tests.benchmarks.test_throughput import linear_task

TURNS = cells.Turns(1, 0.01)


def absent_torch(monkeypatch):
    """As where PyTorch is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )


@pytest.mark.parametrize(
    ("part", "system"),
    [("steps", "unet"), ("compiled", "fer"), ("compiled", "perception"), ("steps", "ram")],
)
def test_a_cell_of_each_system(part, system, monkeypatch):
    absent_torch(monkeypatch)
    if system == "unet":  # whose compilation takes as long as all the others'
        monkeypatch.setattr("jaxvision.training.run.find_task", linear_task)
    found = cells.measure(part, system, "tf32", True, TURNS)
    assert set(found["images_per_second"]) == set(cells.OURS[part])
    kind = cells.THEIRS[part]
    assert set(found["skipped"]) == {f"{kind} step", f"{kind} inference"}
    assert "torch is not installed" in found["skipped"][f"{kind} step"]
    assert "failed" not in found and found["memory_gib"]["jax step"] > 0
    assert found["a_batch"]["step"]["flops"] > 0 < found["a_batch"]["inference"]["flops"]
    json.dumps(found)


def test_streaming_in_bfloat16():
    found = cells.measure("streaming", "rat", "bfloat16", True, TURNS)
    assert set(found["images_per_second"]) == {"jax step", "jax loop, streaming"}
    assert "failed" not in found and "skipped" not in found


@pytest.mark.parametrize(("precision", "expected"), [("float32", "float32"), ("tf32", "default")])
def test_float32_is_exact_or_tf32(precision, expected):
    with cells.arithmetic(precision):
        assert jax.config.jax_default_matmul_precision == expected


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_its_counterpart_in_torch(system, tmp_path):
    pytest.importorskip("torch")
    config = SYSTEMS[system]._replace(frozen=False).config(True, tmp_path)
    assert counterparts.module_of(config).make_predict


def test_one_that_fails_leaves_the_others(monkeypatch):
    absent_torch(monkeypatch)

    def broken(run, state, images):
        raise RuntimeError("no such algorithm\nand so on")

    monkeypatch.setattr(jax_side, "inference", broken)
    found = cells.measure("compiled", "rat", "tf32", True, TURNS)
    assert found["failed"] == {"jax inference": "RuntimeError: no such algorithm"}
    assert "jax step" in found["images_per_second"]


def test_configs_are_those_that_main_takes(tmp_path):
    for system in SYSTEMS.values():
        for quick in (False, True):
            config = system._replace(frozen=False).config(quick, tmp_path)
            check(config)
            flags = system.flags(quick)
            assert flags[0].startswith("--config=configs/") and len(flags) >= 1 + quick


def parts(calls, fail=()):
    def cell(key):
        def work(left):
            calls.append(key)
            if key in fail:
                raise ValueError("broken")
            return {"images_per_second": {"jax step": 5.0}, "batch": [2, 3]}

        return Cell(key, work)

    return [Part("a", 1, [cell("a/x/tf32"), cell("a/y/tf32")]), Part("b", 1, [cell("b/x/tf32")])]


def record(path, about=None):
    return Record(path, about or {"device": "cpu"}, machine())


def test_a_second_start_goes_on(tmp_path):
    path, calls, told = tmp_path / "record.json", [], []
    left = measure(record(path), parts(calls), 0, told.append)
    assert calls == [] and left == ["a/x/tf32", "a/y/tf32", "b/x/tf32"]
    first = record(path)
    first.run(parts(calls)[0].cells[0], 1)  # as if it were killed after its first cell
    calls.clear()
    assert measure(record(path), parts(calls), 1, told.append) == []
    assert calls == ["a/y/tf32", "b/x/tf32"]
    assert set(json.loads(path.read_text())["cells"]) == {"a/x/tf32", "a/y/tf32", "b/x/tf32"}


def test_a_cell_that_fails_is_told_and_the_others_are_measured(tmp_path):
    calls, found = [], record(tmp_path / "record.json")
    measure(found, parts(calls, fail=("a/x/tf32",)), 1, lambda line: None)
    assert calls == ["a/x/tf32", "a/y/tf32", "b/x/tf32"]
    assert found.failures() == {"a/x/tf32": "ValueError: broken"}


def test_a_cell_that_takes_the_process_with_it_is_left_out_at_the_third_start(tmp_path):
    def end(left):
        raise SystemExit(1)

    path = tmp_path / "record.json"
    for _ in range(2):
        with pytest.raises(SystemExit):
            measure(record(path), [Part("a", 1, [Cell("a/x/tf32", end)])], 1, lambda line: None)
    third = record(path)
    measure(third, [Part("a", 1, [Cell("a/x/tf32", end)])], 1, lambda line: None)
    assert "ended the process 2 times" in third.failures()["a/x/tf32"]


def test_unfinished_and_skipped_cells_are_taken_up_again(tmp_path):
    found, answers = (
        record(tmp_path / "record.json"),
        [{"unfinished": True}, {"skipped": {"x": ""}}],
    )
    cell = Cell("recipes/x", lambda left: answers.pop(0) if answers else {"told": "done"})
    for expected in (False, False, True):
        assert found.done(cell.key) is False
        found.run(cell, 1)
        assert found.done(cell.key) is expected


def test_a_record_of_another_device_is_refused(tmp_path):
    path = tmp_path / "record.json"
    measure(record(path), parts([]), 1, lambda line: None)
    with pytest.raises(UserError, match="cpu.*another --out"):
        record(path, {"device": "H100"})
    path.write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        record(path)


def test_the_table_holds_what_was_measured():
    cell = {
        "batch": [8, 4],
        "images_per_second": {"jax step": 1234.0, "torch step": 617.0},
        "ratios": {"jax step / torch step": 2.0},
        "share_of_peak": {"jax step": 0.125},
    }
    start = {"cold": {"seconds": 20.04, "peak_rss_gib": 1.0}, "cached": {"seconds": 9.0}}
    curve = [[50.0, 10, 0.5], [70.0, 20, 0.6], [110.0, 30, 0.7]]
    run = {"metric": "val/accuracy", "target": 0.733, "seconds_to_target": None, "curve": curve}
    data = {
        "starts": [machine()],
        "cells": {
            "steps/rat/tf32": cell,
            "streaming/rat/tf32": {**cell, "images_per_second": {"jax loop, streaming": 1100.0}},
            "compiled/rat/tf32": {"failed": {"torch compiled step": "no compiler"}},
            "starts/rat": start,
            "recipes/fer": {**run, "seconds_in_all": 120.0, "unfinished": True},
        },
    }
    text = table.markdown(data)
    row = next(line for line in text.splitlines() if line.startswith("| rat | tf32"))
    assert "| 8 x 4 | 1,234 | - | 1,100 |" in row and "| 2.00 |" in row and "12.50%" in row
    assert "failed: no compiler" in text and "| rat | 20.0 | 9.0 |" in text
    assert "| - | 120 (cut) | 0.5000, 0.7000 |" in text
    assert "| H200 | 67 | 494.7 | 989.4 | 4.8 |" in table.peaks()


def test_a_recipe_is_trained_and_gone_on_with(tmp_path):
    recipe, workdir = recipes.RECIPES["fer"], tmp_path / "runs" / "fer"
    recipe = recipe._replace(target=0.0, quick=(*recipe.quick, "--config.eval.figure_rows=0"))
    found = recipes.run(recipe, workdir, "", True, 100.0)
    assert found["unfinished"] is False and 0 <= found["test"]["accuracy"] <= 1
    (seconds, step, value), *_ = found["curve"]
    assert 0 < seconds == found["seconds_to_target"] <= found["seconds_in_all"]
    assert step == 1 and 0 <= value <= 1
    again = recipes.run(recipe, workdir, "", True, 100.0)
    assert again["curve"] == found["curve"]
    assert again["seconds_in_all"] > found["seconds_in_all"]
    with pytest.raises(RuntimeError, match="does not exist"):
        recipes.run(recipe, tmp_path / "other", "/nowhere", True, 100.0)
