"""Trained models behind a real process, and its clients."""

import io
import json
import os
import shutil
import signal
import threading
import time

import httpx
import nbclient
import nbformat
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from jaxvision import predict, workdir
from jaxvision.client import Client, Refused
from jaxvision.engine import open_engine, read_config
from jaxvision.errors import UserError
from jaxvision.input_pipeline.images import decode_image
from jaxvision.serve import models
from jaxvision.serve.service import make_ready
from tests.serve.conftest import ROOT, Process, save_run
from tests.tasks.classification.test_classification import CLASSES, picture
from tests.test_main import main


def test_an_answer_is_that_of_predict(server, tiny_models, aerial, tmp_path):
    config = workdir.read_config(str(tiny_models["buildings"]))
    config.predict.polygons = True
    predict.predict_files(
        config, str(tiny_models["buildings"]), str(aerial / "images"), str(tmp_path)
    )
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    expected = {record["file"][-5:]: record for record in map(json.loads, lines)}
    with Client(server.address) as client:
        for path, answer in client.predict_files(sorted((aerial / "images").iterdir())):
            for name in ("width", "height", "threshold", "building_share"):
                assert answer[name] == pytest.approx(expected[path.name][name], abs=1e-3)
            written = json.loads((tmp_path / f"{path.stem}.geojson").read_text())
            assert abs(len(answer["geojson"]["features"]) - len(written["features"])) <= 1
            mask = np.array(client.inference(decode_image(path)))
            assert mask.shape == (96, 128) and set(np.unique(mask)) <= {0, 1}
            of_files = np.asarray(Image.open(tmp_path / f"{path.stem}.png")) > 0
            assert (mask == of_files).mean() > 0.999
            drawn = Image.open(io.BytesIO(client.picture(path, "mask")))
            assert (np.asarray(drawn) // 255 == mask).all()


def test_footprints_of_a_geotiff_are_in_degrees(server):
    kind = dict(driver="GTiff", count=3, height=100, width=120, dtype="uint8", crs="EPSG:32633")
    with rasterio.MemoryFile() as memory:
        with memory.open(**kind, transform=from_origin(601_000, 5_340_000, 0.5, 0.5)) as file:
            file.write(np.random.default_rng(0).integers(0, 256, (3, 100, 120), np.uint8))
        data = memory.read()
    plain = io.BytesIO()
    Image.new("RGB", (120, 100)).save(plain, "TIFF")
    for body, system in ((data, "WGS 84 longitude, latitude"), (plain.getvalue(), "pixels")):
        for path in ("/predict", "/predict?as=geojson"):
            answer = httpx.post(f"{server.address}{path}", content=body, timeout=60).json()
            collection = answer.get("geojson", answer)
            assert system in collection["coordinate_system"]


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_exported_models_are_served(engine):
    """Those of the zoo answer as `Engine` does, by either engine."""
    server = Process("--workdir=zoo/fer,zoo/rodent", f"--engine={engine}")
    try:
        server.wait_ready()
        for name in ("fer", "rodent"):
            folder = str(ROOT / "zoo" / name)
            opened = open_engine(read_config(folder), folder)
            pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
            prepared = opened.predictor.prepare(pixels)
            outputs = {k: np.asarray(v) for k, v in opened.predict(prepared.inputs).items()}
            wanted = opened.predictor.decode(outputs, prepared.context, opened.fitted).record
            memory = io.BytesIO()
            Image.fromarray(pixels).save(memory, "PNG")
            with Client(server.address, model=name) as client:
                answer = client.predict(memory.getvalue())
            assert flat(answer) == pytest.approx(flat(wanted), abs=1e-3)
    finally:
        code, _ = server.stop()
    assert code == 0


def flat(record):
    """{path: number} of what a record holds."""
    if isinstance(record, dict | list):
        items = record.items() if isinstance(record, dict) else enumerate(record)
        return {f"{k}/{path}": v for k, part in items for path, v in flat(part).items()}
    return {} if isinstance(record, str | None) else {"": float(record)}


def test_no_program_is_compiled_once_the_server_is_ready(tiny_models):
    """Pictures of any size, alone or together, go in shapes that were compiled before."""
    import jax

    config = workdir.read_config(str(tiny_models["buildings"]))
    engine = models.open_engine(config, str(tiny_models["buildings"]))
    largest = make_ready(engine, config.predict.batch_size)
    assert len(largest) == 4  # tiles of 96 and 128 pixels a side
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    for height, width in ((7, 9), (96, 97), (130, 64), (300, 1000), (128, 128), (511, 96)):
        inputs = engine.predictor.prepare(np.zeros((height, width, 3), np.uint8)).inputs
        most = largest[inputs.shape[1:]]
        for size in models.buckets(engine, inputs.shape[1:], config.predict.batch_size):
            assert size <= most
            batch = np.resize(inputs, (size, *inputs.shape[1:]))
            assert np.asarray(engine.predict(batch)["probability"]).shape[0] == size
    assert not compiled


def test_each_model_has_its_own_address(server):
    with Client(server.address, model="faces") as client:
        for name in CLASSES:
            memory = io.BytesIO()
            picture(name, 77).save(memory, "PNG")
            (face,) = client.predict(memory.getvalue())["faces"]
            assert face["label"] in CLASSES
            assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        with pytest.raises(Refused, match="not a picture") as error:
            client.predict(b"nothing")
        assert error.value.status == 415
        with pytest.raises(UserError, match="no such file|No such file"):
            client.predict("/nowhere/x.png")
    names = [model["name"] for model in httpx.get(f"{server.address}/models").json()["models"]]
    assert names == ["buildings", "faces"]


def test_frames_of_a_camera_are_answered(server):
    frames = []
    for name in CLASSES:
        memory = io.BytesIO()
        picture(name, 3).resize((64, 64)).convert("RGB").save(memory, "JPEG")
        frames.append(memory.getvalue())
    with Client(server.address, model="faces") as client:
        answers = list(client.live(frames * 4, smoothing="mean"))
        assert [answer["frame"] for answer in answers if "faces" in answer][-1] == 11
        assert {answer["frame"] for answer in answers} == set(range(12))
        with pytest.raises(UserError, match="no live answers"):
            list(client.live(frames, smoothing="psychic"))


def test_the_notebook_measures_a_running_server(server, aerial, monkeypatch):
    notebook = nbformat.read(ROOT / "docs" / "client.ipynb", as_version=4)
    monkeypatch.setenv("JAXVISION_SERVER", server.address)
    monkeypatch.setenv("JAXVISION_FOLDER", str(aerial))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    told = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    values = dict(line.split(": ") for line in told.splitlines() if line.count(": ") == 1)
    with Client(server.address) as client:
        pairs = [
            (
                np.array(client.inference(decode_image(path))),
                decode_image(aerial / "masks" / path.name),
            )
            for path in sorted((aerial / "images").iterdir())
        ]
    predicted = np.stack([p for p, _ in pairs]).astype(bool)
    truth = np.stack([t[..., 0] > 0 for _, t in pairs])
    assert float(values["accuracy"]) == pytest.approx((predicted == truth).mean(), abs=1e-4)
    ious = [(p & t).sum() / (p | t).sum() for p, t in ((predicted, truth), (~predicted, ~truth))]
    assert float(values["mean IoU"]) == pytest.approx(np.mean(ious), abs=1e-4)
    assert values.keys() >= {"precision", "recall"}


def test_a_better_checkpoint_is_taken_up_from_the_workdir(tiny_models, tmp_path):
    """A run saves one beside the server, whose every request is answered meanwhile."""
    folder = tmp_path / "faces"
    shutil.copytree(tiny_models["faces"], folder)
    process = Process(f"--workdir={folder}", "--reload=0.5")
    try:
        process.wait_ready()
        step = httpx.get(f"{process.address}/models").json()["models"][0]["step"]
        memory = io.BytesIO()
        picture("dark", 1).save(memory, "PNG")
        statuses, stop = [], threading.Event()

        def ask():
            with httpx.Client() as http:
                while not stop.is_set():
                    url = f"{process.address}/predict"
                    statuses.append(http.post(url, content=memory.getvalue()).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        config = workdir.read_config(str(folder))
        save_run(folder, config, step=2, seed=5)
        end = time.monotonic() + 60
        while httpx.get(f"{process.address}/models").json()["models"][0]["step"] == step:
            assert time.monotonic() < end
            time.sleep(0.1)
        stop.set()
        thread.join()
        assert set(statuses) == {200} and len(statuses) > 5
    finally:
        code, told = process.stop()
    assert code == 0, told


def test_stopping_finishes_what_was_accepted(tiny_models):
    process = Process(f"--workdir={tiny_models['buildings']}")
    process.wait_ready()
    memory = io.BytesIO()
    Image.fromarray(np.zeros((600, 600, 3), np.uint8)).save(memory, "PNG")
    statuses = []

    def ask():
        answer = httpx.post(f"{process.address}/predict", content=memory.getvalue(), timeout=60)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    accepted = "jaxvision_requests_in_work 6"
    while accepted not in httpx.get(f"{process.address}/metrics").text and not statuses:
        time.sleep(0.001)
    code, told = process.stop(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert code == 0 and statuses == [200] * 6, told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host=0.0.0.0",), "--host=0.0.0.0 lets others in: give --token_file"),
        (("--host=0.0.0.0", "--token_file=/nowhere"), "--token_file='/nowhere' cannot be read"),
        (("--host=0.0.0.0", "--token_file={short}"), "must hold one token of 16 to 200"),
        (("--port=99999",), "--port=99999 is no port"),
        (("--queue=0",), "--queue=0"),
        (("--workdir={faces},{faces}",), "names two folders 'faces'"),
        (("--workdir={faces},/nowhere",), "workdir '/nowhere' does not exist"),
        (("--workdir={faces},",), "give folders separated by commas"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(tiny_models, tmp_path, arguments, message):
    (tmp_path / "token").write_text("short\n")
    names = {"faces": tiny_models["faces"], "short": tmp_path / "token"}
    given = [argument.format(**names) for argument in arguments]
    code, _, told = main(f"--workdir={tiny_models['faces']}", "--mode=serve", "--port=0", *given)
    assert code == 2 and message in told and "Traceback" not in told
    assert len(told.strip().splitlines()[-1:]) == 1
