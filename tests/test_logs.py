"""What a run writes is read back: TensorBoard's files through clu, and the metrics beside them."""

import json

import numpy as np
import pytest

from jaxvision import logs
from jaxvision.logs import clock


def read_events(folder):
    """TensorBoard's own reader over a folder of event files."""
    pytest.importorskip("tensorflow")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder), size_guidance={reader.TENSORS: 0})
    events.Reload()
    return events


def test_tensorboard_shows_what_the_metrics_file_holds(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    log = logs.RunLog(str(tmp_path), 10, 4, 0)
    log.metrics(3, {"train/loss": 0.5, "val/iou": 0.25})
    log.metrics(6, {"train/loss": 0.125})
    picture = np.zeros((12, 20, 3), np.uint8)
    picture[2:5, 3:9] = (200, 100, 50)
    log.figure(6, "predictions", picture)
    log.close()
    events = read_events(tmp_path)
    assert {"train/loss", "val/iou", "predictions"} <= set(events.Tags()["tensors"])
    scalars = [
        (event.step, float(tensorflow.make_ndarray(event.tensor_proto)))
        for event in events.Tensors("train/loss")
    ]
    assert scalars == [(3, 0.5), (6, 0.125)]
    (event,) = events.Tensors("predictions")
    width, height, png = tensorflow.make_ndarray(event.tensor_proto)[:3]
    assert (event.step, int(width), int(height)) == (6, 20, 12)
    np.testing.assert_array_equal(tensorflow.io.decode_png(png).numpy(), picture)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]


def test_the_console_gets_a_line_a_second_and_the_metrics_every_one(tmp_path, monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(logs, "_tensorboard", lambda workdir: None)
    log = logs.RunLog(str(tmp_path), 3000, 4, 0)
    log.start_clock(0)
    for step in range(10, 3001, 10):  # 800 steps a second, then ten seconds of evaluation, then 400
        if step == 1610:
            log.pause_clock()
            now[0] += 10
            log.start_clock(1600)
        now[0] += 1 / 80 if step <= 1600 else 1 / 40
        log.progress(step, {"loss": 1.0}, step / 100)
    log.close()
    told = capsys.readouterr().out.splitlines()
    steps = [800, 1600, 2000, 2400, 2800, 3000]
    assert [line.split()[1] for line in told] == [f"{step}/3000" for step in steps]
    rates = ["3200.0 images/s"] * 2 + ["1600.0 images/s"] * 4
    assert all(rate in line for rate, line in zip(rates, told, strict=True))
    assert told[0].endswith("left 3s") and told[-1].endswith("left 0s")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, 3001, 10))
    assert {round(line["images_per_second"]) for line in lines} == {3200, 1600}
