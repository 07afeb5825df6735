"""Small pictures to the server: answered, and nowhere kept."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from learning_platform import face_on_server
from learning_platform.people.consent import give, revoke
from tests.learning_platform.film import FACES, frame, read_faces
from tests.learning_platform.model_folder import CLASSES
from tests.learning_platform.test_records import bytes_of


def noise_frame(comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=50, comment=comment)
    return file.getvalue()


def send(client, body: bytes, kind: str = "image/jpeg"):
    return client.generic("POST", "/frames/", body, content_type=kind)


@pytest.fixture
def student(school):
    for kind in ("camera", "server"):
        give(school.sam, kind)
    return school.client(school.sam)


def test_only_with_its_own_consent(school):
    client = school.client(school.sam)
    give(school.sam, "camera")
    assert send(client, noise_frame()).status_code == 403
    give(school.sam, "server")
    assert send(client, noise_frame()).status_code == 200
    revoke(school.sam, "camera")  # which takes this one along
    assert send(client, noise_frame()).status_code == 403


def test_a_face_is_read(student, shared_data):
    face = read_faces(shared_data / "faces" / "fer2013.tar.gz", 1)[0]
    for light, label in (("dark", "sad"), ("bright", "happy")):
        answer = send(student, frame(face, FACES[light])).json()
        assert answer["face"] and not answer["low_light"]
        assert max(answer["probabilities"], key=answer["probabilities"].get) == label
        assert list(answer["probabilities"]) == CLASSES
        assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_no_face_and_low_light(student):
    assert send(student, frame(None, 0)).json() == {
        "face": False,
        "low_light": False,
        "probabilities": None,
    }
    assert send(student, frame(None, 0, background=10)).json()["low_light"]


def test_what_is_no_frame_is_refused(student):
    big, png = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (2000, 100)).save(big, "JPEG")
    Image.new("RGB", (20, 10)).save(png, "PNG")
    for body in (b"x", b"x" * 100, noise_frame()[:300], big.getvalue(), png.getvalue()):
        assert send(student, body).status_code == 400
    assert send(student, noise_frame(), "multipart/form-data; boundary=x").status_code == 415
    assert send(student, b"\xff" * (face_on_server.FRAME_BYTES + 1)).status_code == 413


def test_no_byte_of_a_frame_is_kept(student, school, database, tmp_path):
    """No file is opened for writing while a frame is read, and none holds a piece of one.

    Python tells of every file that it opens; SQLite's own are searched.
    """
    marker = b"a mark that is in no other file 5d0c1f"
    body = noise_frame(marker)
    send(student, body)  # what is loaded only once
    opened = []

    def hear(event, args):
        if event == "open" and recording and args[2] & 3:
            opened.append(args[0])

    recording = True
    sys.addaudithook(hear)
    for _ in range(5):
        assert send(student, body).status_code == 200
    recording = False
    assert opened == []
    middle = len(body) // 2
    pieces = [marker, body[middle : middle + 32], body[-66:-2]]
    kept = bytes_of(database)
    for file in [f for f in tmp_path.rglob("*") if f.is_file()]:
        kept += file.read_bytes()
    assert not any(piece in kept for piece in pieces)
    assert not any(json.dumps(list(piece)).encode() in kept for piece in pieces)
