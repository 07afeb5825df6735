"""What a user relies on in the loop: resuming, refusing, stopping, reporting."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import evaluate, logs, train, trained, workdir
from jaxvision.errors import UserError
from jaxvision.training.advance import make_advance
from jaxvision.training.train_state import create_state, make_train_step, merge_params
from tests.tiny import open_run, tiny_config, train_in
from tests.tiny_systems import fer_config

ROOT = Path(__file__).parents[1]
LONG = """
import sys
from tests.tiny import train_in
train_in(sys.argv[1], train__steps=int(sys.argv[2]), checkpoint__every_steps=20,
         eval__every_epochs=1000.0)
"""


def lines(folder, name="train/loss"):
    """[(step, value)] of metrics.jsonl."""
    records = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
    return [(record["step"], record[name]) for record in records if name in record]


def start_long(folder, steps):
    return subprocess.Popen(
        [sys.executable, "-c", LONG, str(folder), str(steps)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_checkpoint(folder, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if list((Path(folder) / "checkpoints").glob("[0-9]*")):
            return
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint appeared: {process.stdout.read()}")


def test_a_run_leaves_everything_the_readme_names(tmp_path, capsys):
    train_in(tmp_path)
    printed = capsys.readouterr().out
    assert "built-in synthetic" in printed and "train: 10 examples" in printed
    assert "images/s" in printed and "left" in printed and "devices: 1 x cpu" in printed
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["split"] == "test" and result["examples"] == 5 and 0 < result["step"] <= 6
    names = {"accuracy", "precision", "recall", "iou", "mean_iou", "boundary_iou"}
    assert names <= result["metrics"].keys()
    assert "\ntest: " in printed
    assert [step for step, _ in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"predictions_6.png", "learning_curves_6.png"} <= figures
    assert any(name.startswith("worst_") for name in figures)
    assert (tmp_path / "config.json").exists()


def test_refuses_a_workdir_in_use(tmp_path):
    with (
        workdir.lock(str(tmp_path)),
        pytest.raises(UserError, match=rf"in use by process {os.getpid()}"),
    ):
        train_in(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"optimizer__learning_rate": 0.5},
        {"data__image_size": 64},
        {"model__decoder_widths": (4, 4, 4, 4, 4)},
    ],
)
def test_refuses_to_resume_another_run(tmp_path, change):
    workdir.begin(tiny_config(), str(tmp_path))
    key = next(iter(change)).replace("__", ".")
    with pytest.raises(UserError, match=key):
        train_in(tmp_path, **change)


def test_allows_longer_training_and_other_cadences(tmp_path, capsys):
    train_in(tmp_path, train__steps=3)
    train_in(tmp_path, train__steps=5, log__every_steps=2, eval__every_epochs=3.0)
    assert "resumed from step 3 of 5" in capsys.readouterr().out
    assert lines(tmp_path)[-1][0] == 5


def test_lines_after_the_checkpoint_are_logged_once(tmp_path):
    train_in(tmp_path, train__steps=3)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "train/loss": 9.0}\n{"step": 5, "tra')
    train_in(tmp_path, train__steps=4)
    steps = [step for step, _ in lines(tmp_path)]
    assert steps == [1, 2, 3, 4] and lines(tmp_path)[-1][1] != 9.0


def test_a_log_line_waits_until_the_next_call_is_under_way(tmp_path, monkeypatch):
    """A GPU has work while the host reads the sums; evaluation and saving find all written."""
    events, make, progress = [], train.make_advance, logs.RunLog.progress

    def make_advance(*arguments):
        advance = make(*arguments)

        def noted(state, step, count):
            events.append(f"call {step + count}")
            return advance(state, step, count)

        return noted

    def note(log, step, *rest):
        events.append(f"line {step}")
        progress(log, step, *rest)

    monkeypatch.setattr(train, "make_advance", make_advance)
    monkeypatch.setattr(logs.RunLog, "progress", note)
    train_in(tmp_path, train__steps=4, eval__every_epochs=1.0)  # every second step
    assert events[:4] == ["call 1", "call 2", "line 1", "line 2"]
    assert events[4:] == ["call 3", "call 4", "line 3", "line 4"]
    assert [step for step, _ in lines(tmp_path)] == [1, 2, 3, 4]


def test_stops_at_a_loss_that_is_not_finite_and_keeps_the_last_good_step(tmp_path):
    train_in(tmp_path, train__steps=3)
    good = json.loads((tmp_path / "config.json").read_text())
    good["optimizer"]["learning_rate"] = 1e30
    (tmp_path / "config.json").write_text(json.dumps(good))
    with pytest.raises(
        FloatingPointError, match=r"gradient of step \d+ is not finite; the checkpoint of step 3"
    ):
        train_in(tmp_path, train__steps=9, optimizer__learning_rate=1e30, eval__every_epochs=9.0)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").glob("[0-9]*"))[-1] == 3


def test_sigterm_saves_and_says_how_to_resume(tmp_path):
    process = start_long(tmp_path, 100_000)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "the same command again resumes" in output
    saved = int(output.split("saved step ")[1].split()[0])
    assert (tmp_path / "checkpoints" / str(saved)).is_dir()


def test_early_stop(tmp_path, capsys):
    # A learning rate of 0 never improves on the first evaluation.
    train_in(
        tmp_path, train__steps=40, optimizer__learning_rate=0.0, early_stop_epochs=4,
        optimizer__warmup_steps=0, eval__every_epochs=2.0, checkpoint__best_metric="cross_entropy",
        checkpoint__higher_is_better=False, model__encoder__bn_momentum=1.0,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "early stop" in printed and "test: " in printed
    assert lines(tmp_path)[-1][0] < 40


def test_unknown_best_metric_is_named_before_training(tmp_path):
    with pytest.raises(UserError, match="use one of accuracy, precision"):
        train_in(tmp_path, checkpoint__best_metric="miou")


def test_nothing_recompiles_in_the_loop(tmp_path, monkeypatch):
    functions = []
    jit = jax.jit

    def counting_jit(*args, **kwargs):
        functions.append(jit(*args, **kwargs))
        return functions[-1]

    monkeypatch.setattr(train.jax, "jit", counting_jit)
    # Under plateau a validation hands the loop another optimizer state than the step did.
    train_in(tmp_path, train__steps=12, log__every_steps=2, optimizer__schedule="plateau")
    sizes = [function._cache_size() for function in functions]
    assert len(sizes) >= 2 and max(sizes) == 1, sizes


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_batches_and_losses_of_resident_data(tmp_path, workers):
    if workers:
        from absl import flags

        flags.FLAGS.mark_as_parsed()  # grain's workers ask for parsed flags
    train_in(tmp_path / "resident", data__resident="true")
    train_in(tmp_path / "streaming", data__resident="false", data__workers=workers)
    resident, streaming = lines(tmp_path / "resident"), lines(tmp_path / "streaming")
    assert [step for step, _ in resident] == [step for step, _ in streaming]
    np.testing.assert_allclose([v for _, v in resident], [v for _, v in streaming], rtol=1e-5)


def test_validation_keeps_its_processes(tmp_path, monkeypatch):
    from absl import flags

    flags.FLAGS.mark_as_parsed()
    seen, measure = [], evaluate.measure

    def running():
        return {process.pid for process in multiprocessing.active_children()}

    def measuring(*arguments):
        before = running()
        measured = measure(*arguments)
        seen.append((before, running()))
        return measured

    monkeypatch.setattr(evaluate, "measure", measuring)
    config = fer_config(data__resident="false", data__workers=2, eval__every_epochs=1.0)
    config.data.synthetic_examples.val = 10  # two batches, one a process
    train.train(config, str(tmp_path))
    (before, after), (_, after_second) = seen[:2]  # the others are of the end of the run
    started = after - before
    assert len(started) == 2 and started <= after_second, seen
    assert not running()


def test_many_steps_a_call_equal_single_steps(tmp_path):
    # Not Adam: it divides by the size of the gradient, so rounding decides where that is near 0.
    sgd = dict(optimizer__name="sgd", optimizer__learning_rate=0.01, optimizer__warmup_steps=0)
    run, feed, state = open_run(tiny_config(**sgd), tmp_path)
    advance = make_advance(run, feed, 0)
    one = jax.device_get(state)
    for step in range(3):
        state, _ = advance(state, step, 1)
    single = jax.device_get(state.params)
    state, _ = make_advance(run, feed, 0)(jax.device_put(one), 0, 3)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        single,
        jax.device_get(state.params),
    )


def test_a_run_begins_where_another_ended(tmp_path, capsys):
    train_in(tmp_path / "first")
    source = str(tmp_path / "first")
    capsys.readouterr()
    run, _, state = open_run(tiny_config(init_from=source), tmp_path / "second")
    _, variables = trained.load_trained(tiny_config(), source)[:2]
    begun = merge_params(state.params, state.frozen)
    jax.tree.map(np.testing.assert_array_equal, begun, jax.device_get(variables["params"]))
    out = capsys.readouterr().out
    assert f"init_from {source}:" in out and "begun anew" not in out
    other = tiny_config(init_from=source, model__decoder_widths=(8, 8, 8, 8, 12))
    open_run(other, tmp_path / "third")
    out = capsys.readouterr().out
    assert "begun anew: " in out and "params/head/kernel" in out and "params/encoder" not in out
    with pytest.raises(UserError, match="'nowhere' does not exist"):
        open_run(tiny_config(init_from="nowhere"), tmp_path / "fourth")


def test_what_a_run_says(tmp_path, capsys):
    train_in(tmp_path / "run", train__steps=4, eval__every_epochs=1.0)
    out = capsys.readouterr().out
    validations = [line for line in out.splitlines() if line.startswith("val: iou ")]
    assert validations and "loss" in validations[0] and validations[0].endswith("best so far")
    assert "  encoder: " in out and "conv1" not in out
    assert "kernel" in (tmp_path / "run" / "parameters.txt").read_text()
    assert f"next: python main.py --mode=predict --workdir={tmp_path / 'run'}" in out
    begun = json.loads((tmp_path / "run" / "config.json").read_text())["begun"]
    assert begun["versions"]["jax"] == jax.__version__ and begun["command"]
    metrics = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("val/loss" in line and "val/boundary_iou" in line for line in metrics)


def test_a_gradient_that_is_not_finite_is_marked_before_it_can_be_saved():
    def loss(params, extra, batch, key):
        root = jnp.sqrt(params["w"])  # 0 at 0, where its slope is infinite
        return root, (extra, {"loss": (root, jnp.ones(()))})

    model = types.SimpleNamespace(
        augment=lambda key, batch: batch, loss=loss, trainable=lambda path: True
    )
    optimizer = optax.sgd(0.1)
    state = create_state(model, optimizer, {"params": {"w": jnp.zeros(())}}, {}, ema_decay=0.0)
    step = make_train_step(
        model, optax.with_extra_args_support(optimizer), seed=0, ema_decay=0, accumulate_steps=1
    )
    after = step(state, {})
    assert np.isfinite(float(after.sums["loss"][0])) and int(after.bad_step) == 1
