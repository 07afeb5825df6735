"""The expression network in a browser gives Python's probabilities (onnxruntime-web, wasm)."""

import base64
import functools
import hashlib
import http.server
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxvision.engine import open_engine, read_config

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("onnxruntime")
CHROMIUM = "/usr/bin/chromium"
FER = Path(__file__).parents[2] / "zoo" / "fer"
PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = (  # sha512, as in a package-lock.json
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# Logits of all faces, one after the other, each a batch of its own.
SCRIPT = """async ([faces, shape]) => {
    const ort = await import("/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/";
    const session = await ort.InferenceSession.create("/model.onnx");
    const logits = [];
    for (const face of faces) {
        const images = new ort.Tensor("uint8", Uint8Array.from(face), shape);
        logits.push(Array.from((await session.run({images})).logits.data));
    }
    return logits;
}"""


class Server(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of the runtime, whose hash is checked, the model and an empty page."""
    if not shutil.which("npm"):
        pytest.skip("there is no npm to bring onnxruntime-web")
    folder = tmp_path_factory.mktemp("browser")
    command = ["npm", "pack", PACKAGE, "--ignore-scripts", "--silent"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm did not bring {PACKAGE}: {done.stderr.strip()[-200:]}")
    archive = folder / done.stdout.strip().splitlines()[-1]
    digest = hashlib.sha512(archive.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == INTEGRITY
    with tarfile.open(archive) as tar:
        for name in FILES:
            (folder / name).write_bytes(tar.extractfile(f"package/dist/{name}").read())
    shutil.copy(FER / "model.onnx", folder)
    (folder / "index.html").write_text("<!doctype html><title>expressions</title>")
    handler = functools.partial(Server, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def faces():
    """Blots with the range of real pictures: uint8 [6, 48, 48, 1]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 6, 6, 1))
    smooth = np.repeat(np.repeat(coarse, 8, 1), 8, 2) + rng.integers(-20, 21, (6, 48, 48, 1))
    return np.clip(smooth, 0, 255).astype(np.uint8)


def probabilities(logits, temperature):
    odds = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return odds / odds.sum(1, keepdims=True)


def test_chromium_gives_the_probabilities_of_python(address):
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}")
    images, engine = faces(), open_engine(read_config(str(FER)), str(FER))
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.goto(address)
        argument = [[face.ravel().tolist() for face in images], [1, 48, 48, 1]]
        logits = np.array(page.evaluate(SCRIPT, argument))
        browser.close()
    temperature = engine.fitted["temperature"]
    wanted = probabilities(np.asarray(engine.predict(images)["logits"]), temperature)
    assert wanted.max() > 0.3 and np.ptp(wanted, axis=0).max() > 0.1
    np.testing.assert_allclose(probabilities(logits, temperature), wanted, rtol=0, atol=1e-4)
