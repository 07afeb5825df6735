"""What a server answers, over real sockets."""

import io
import json
import threading

import jsonschema
import numpy as np
import pytest
from PIL import Image

from tests.serve.running import Fake, multipart, picture, png, serve_fake, wait_until


@pytest.fixture(scope="module")
def running():
    with serve_fake(Fake()) as running:
        yield running


def test_the_published_contract_gives_a_mask_of_zeros_and_ones(running):
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    expected = (image[..., 0] > 127).astype(int).tolist()
    for body in (
        json.dumps({"image": image.tolist()}),
        json.dumps({"image": image.tolist()}, separators=(",", ":")),
        json.dumps({"more": [True, None], "image": image.tolist()}, indent=2),
        json.dumps({"image": image.astype(float).tolist()}),
    ):
        status, answer = running.post("/inference", body, "application/json")
        assert status == 200 and answer == {"prediction": expected}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_pictures_of_every_kind_are_answered(running, kind):
    status, answer = running.post("/predict", png(picture(60), kind))
    assert status == 200
    assert answer["mean"] == pytest.approx(60, abs=1) and answer["width"] == 8
    assert answer["geojson"]["type"] == "FeatureCollection"


def test_an_answer_as_a_picture_an_array_or_outlines(running):
    status, headers, body = running.ask("POST", "/predict", png(), {"Accept": "image/png"})
    assert (status, headers["content-type"]) == (200, "image/png")
    assert (np.asarray(Image.open(io.BytesIO(body))) == 155).all()
    assert running.ask("POST", "/predict?as=picture", png())[2] == body
    mask = running.ask("POST", "/predict?as=mask", png(picture(200)))[2]
    assert (np.asarray(Image.open(io.BytesIO(mask))) == 255).all()
    status, headers, body = running.ask("POST", "/predict?as=geojson", png())
    assert headers["content-type"] == "application/geo+json" and json.loads(body)["features"] == []
    _, answer = running.post("/predict?with=arrays", png())
    assert answer["arrays"]["mask"].startswith("data:image/png;base64,")
    status, answer = running.post("/predict?as=poem", png())
    assert status == 400 and "use one of json, picture, geojson, mask" in answer["error"]


def test_several_files_are_answered_in_their_order_and_bad_ones_in_their_place(running):
    files = [("a.png", png(picture(10))), ("../../b", b"no picture"), ("c.png", png(picture(30)))]
    status, answer = running.post("/predict", *multipart(*files))
    assert status == 200
    assert [one["file"] for one in answer["predictions"]] == ["a.png", "../../b", "c.png"]
    assert [one.get("mean") for one in answer["predictions"]] == [10, None, 30]
    assert "not a picture" in answer["predictions"][1]["error"]
    status, answer = running.post("/predict", *multipart(*files[:1]))
    assert answer["mean"] == 10 and "file" not in answer


def test_requests_that_come_while_the_model_is_busy_go_together():
    fake = Fake()
    with serve_fake(fake) as running:
        fake.batches.clear()
        fake.gate.clear()
        answers = {}

        def one(value):
            answers[value] = running.post("/predict", png(picture(value)))[1]["mean"]

        threads = [threading.Thread(target=one, args=(value,)) for value in range(20, 32)]
        threads[0].start()
        wait_until(lambda: running.service.places.left == running.limits.places - 1)
        wait_until(lambda: running.service.first.batches.rows == 0)  # it is with the model
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: running.service.first.batches.rows == 11)
        fake.gate.set()
        for thread in threads:
            thread.join()
        assert answers == {value: value for value in range(20, 32)}
        assert fake.batches == [1, 8, 4]  # eleven rows: eight, and three filled up to four
        assert running.metric("batch_rows_sum", model="fake") == 12


def test_every_route_is_described_and_every_description_is_true(running):
    document = json.loads(running.ask("GET", "/openapi.json")[2])
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        (method,) = operations
        operation, place = operations[method], path.replace("{model}", "fake")
        if path.endswith("/live"):
            continue
        body = None
        if path.endswith("/inference"):
            body = json.dumps({"image": picture().tolist()})
            wanted = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.validate(json.loads(body), wanted)
        elif path.endswith("/predict"):
            body = png()
        status, headers, answer = running.ask(method.upper(), place, body)
        assert status == 200, path
        content = operation["responses"]["200"]["content"]
        kind = headers["content-type"].split(";")[0]
        assert kind in content, path
        if kind == "application/json":
            jsonschema.validate(json.loads(answer), content[kind]["schema"])
        status, _, answer = running.ask("PUT", place)
        assert status == 405 and "error" in json.loads(answer)
    told = {path for path in document["paths"] if not path.startswith("/models/{model}")}
    paths = {"/inference", "/predict", "/live", "/healthz", "/readyz", "/metrics", "/models",
             "/openapi.json", "/", "/page.css", "/page.js"}  # fmt: skip
    assert told == paths
    assert {f"/models/{{model}}{p}" for p in ("/inference", "/predict", "/live", "/")} <= set(
        document["paths"]
    )


def test_the_models_are_listed(running):
    (model,) = json.loads(running.ask("GET", "/models")[2])["models"]
    assert (model["name"], model["task"], model["step"], model["ready"]) == (
        "fake",
        "fake",
        7,
        True,
    )
    assert model["classes"] == ["a", "b"] and model["smoothing"] == ["all"]
    assert json.loads(running.ask("GET", "/models/fake")[2]) == model
    status, _, answer = running.ask("GET", "/models/none/")
    assert status == 404 and "this server has fake" in json.loads(answer)["error"]


def test_what_happens_is_counted(running):
    before = running.metric("requests_total", model="fake", endpoint="predict", status="415") or 0
    running.post("/predict", b"nonsense")
    after = running.metric("requests_total", model="fake", endpoint="predict", status="415")
    assert after == before + 1
    text = running.ask("GET", "/metrics")[2].decode()
    for name in (
        "request_seconds_bucket",
        "batch_rows_bucket",
        "queue_rows",
        "ready",
        "model_step",
    ):
        assert f"\njaxvision_{name}" in text


def test_the_page_brings_everything_with_it_and_runs_nothing_else(running):
    status, headers, body = running.ask("GET", "/")
    policy = headers["content-security-policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    page = body.decode()
    assert "<script type" in page and "onclick" not in page and "style=" not in page
    assert "https://" not in page + running.ask("GET", "/page.js")[2].decode()
    for path in ("/page.js", "/page.css", "/models/fake/", "/models/fake/page.js"):
        assert running.ask("GET", path)[0] == 200
    for path in ("/page/../app.py", "/..%2f..%2fetc/passwd", "/models/fake/app.py", "//etc/passwd"):
        assert running.ask("GET", path)[0] == 404


def test_nothing_is_answered_before_the_programs_are_compiled():
    with serve_fake(Fake(), ready=False) as running:
        assert running.ask("GET", "/healthz")[0] == 200
        status, _, body = running.ask("GET", "/readyz")
        assert status == 503 and json.loads(body)["models"] == {"fake": False}
        status, headers, _ = running.ask("POST", "/predict", png())
        assert status == 503 and int(headers["retry-after"]) >= 1


def test_a_token_is_wanted_where_there_is_one():
    with serve_fake(Fake(), token="secret-secret-secret") as running:
        for path in ("/healthz", "/readyz", "/", "/page.js"):
            assert running.ask("GET", path)[0] == 200
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xe9"}):
            status, headers, _ = running.ask("POST", "/predict", png(), given)
            assert status == 401 and headers["www-authenticate"] == "Bearer"
        given = {"Authorization": "Bearer secret-secret-secret"}
        assert running.ask("POST", "/predict", png(), given)[0] == 200
        assert running.ask("GET", "/models", headers=given)[0] == 200
        assert running.ask("GET", "/models")[0] == 401
