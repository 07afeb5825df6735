"""What a start does before its first step, and what it leaves for later."""

import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from configs import rat
from jaxvision import logs
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from jaxvision.input_pipeline.parallel import in_thread
from jaxvision.input_pipeline.readers import keypoints
from jaxvision.input_pipeline.synthetic import aerial
from jaxvision.training.train_state import merge_params
from tests.tiny import final_state, open_run, tiny_config, train_in

LATER = ("orbax", "sklearn", "scipy", "matplotlib", "tensorflow", "grain", "clu")


def test_training_begins_without_what_comes_later():
    code = "import main, sys; from jaxvision.train import train; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*LATER} & {*done.stdout.split()}


def test_the_step_is_compiled_once_while_data_are_decoded(tmp_path, monkeypatch):
    compiled, finished, open_feed = [], threading.Event(), loader.open_training_feed

    def note(event, seconds, fun_name="", **rest):
        if event.endswith("backend_compile_duration") and "step_many" in fun_name:
            compiled.append(fun_name)
            finished.set()

    def open_late(*arguments):
        assert finished.wait(60), "the step waits for the data"
        return open_feed(*arguments)

    jax.monitoring.register_event_duration_secs_listener(note)
    monkeypatch.setattr(loader, "open_training_feed", open_late)
    train_in(tmp_path, train__steps=2)
    assert len(compiled) == 1


def slow_scenes(monkeypatch, stepped):
    """Of the built-in scenes 15 are drawn, no more than four steps ask for, until `stepped`."""
    read, first = aerial.read_scene, threading.Semaphore(15)

    def slow(i, **options):
        if i and not stepped.is_set() and not first.acquire(timeout=0.05):
            assert stepped.wait(60), "the first steps wait for all data"
        return read(i, **options)

    monkeypatch.setattr(aerial, "read_scene", slow)


def test_steps_begin_while_data_are_decoded_and_are_the_same_steps(tmp_path, monkeypatch):
    options = dict(train__steps=12, data__synthetic_examples=dict(train=32, val=0, test=0))
    options |= dict(checkpoint__best_metric="")
    config = train_in(tmp_path / "cached", **options)
    train_in(tmp_path / "again", **options)  # from the cache
    stepped, progress = threading.Event(), logs.RunLog.progress

    def note_line(log, step, *rest):
        progress(log, step, *rest)
        if step == 2:  # whose line is written while the third is under way
            stepped.set()

    monkeypatch.setenv("JAXVISION_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(logs.RunLog, "progress", note_line)
    slow_scenes(monkeypatch, stepped)
    train_in(tmp_path / "early", **options)
    assert stepped.is_set()
    whole, early = (final_state(tmp_path / name, config) for name in ("again", "early"))
    jax.tree.map(np.testing.assert_array_equal, whole, early)


def test_rows_are_decoded_as_training_asks_for_them():
    config = tiny_config(data__synthetic_examples=dict(train=10, val=3, test=5))
    split = loader.load_dataset(config).splits["train"]
    for weights in (b"", np.float32([1] * 9 + [30]).tobytes()):
        split = split._replace(weights=weights)
        for start in (0, 1, 7):
            order = loader.first_asked(0, 4, start, split)
            assert sorted(order) == list(range(10))
            first = loader.train_rows(start, 1, 4, 0, 10, weights)[0]
            assert set(order[: len(set(first))]) == set(first)


def test_no_step_waits_for_validation_data(tmp_path, monkeypatch):
    events, open_feed, progress = [], loader.open_feed, logs.RunLog.progress

    def note_feed(dataset, name, *rest):
        events.append(name)
        return open_feed(dataset, name, *rest)

    def note_line(log, step, *rest):
        events.append(step)
        progress(log, step, *rest)

    monkeypatch.setattr(loader, "open_feed", note_feed)
    monkeypatch.setattr(logs.RunLog, "progress", note_line)
    train_in(tmp_path, train__steps=4, eval__every_epochs=1.0)  # every second step
    # Once in the loop, and once for the figures at the end.
    assert events == [1, 2, "val", 3, 4, "val", "test"]


def test_an_error_in_the_data_is_that_of_the_run(tmp_path, monkeypatch):
    def fail(*arguments):
        raise UserError("photo.jpg: truncated")

    monkeypatch.setattr(loader, "open_training_feed", fail)
    with pytest.raises(UserError, match="photo.jpg: truncated"):
        train_in(tmp_path)


def test_in_thread_gives_results_and_errors():
    assert in_thread(divmod, 7, 2).result(60) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_thread(divmod, 7, 0).result(60)


def test_what_is_known_of_rodents_is_found_once(monkeypatch):
    config = rat.get_config()
    config.data.synthetic_examples = dict(train=12, val=2, test=2)
    first = loader.load_dataset(config).info
    monkeypatch.setattr(keypoints, "_find_info", lambda *arguments: pytest.fail("found again"))
    assert loader.load_dataset(config).info == first
    monkeypatch.undo()
    config.data.synthetic_examples.train = 11
    other = loader.load_dataset(config).info
    assert not np.allclose(other["mean_points"], first["mean_points"], rtol=1e-6)


def test_what_is_compiled_fast_begins_with_the_same_bits(tmp_path):
    run, _, state = open_run(tiny_config(), tmp_path)
    row = run.dataset.splits["train"].read(0)
    batch = {name: np.stack([array] * 4) for name, array in row.items()}
    variables = jax.jit(run.task.model.init)(jax.random.key(run.config.seed), batch)
    begun = {"params": merge_params(state.params, state.frozen), **state.extra}
    jax.tree.map(np.testing.assert_array_equal, begun, dict(variables))
