"""A student's way through the platform in a real browser, with a film of faces as the camera."""

import json
import re
import sqlite3
from urllib.parse import urlsplit

import pytest

from tests.learning_platform.film import FACES, frame, read_faces, write_film
from tests.learning_platform.live import Live, launch, log_in, require_npm, shot
from tests.learning_platform.model_folder import CLASSES, make_model
from tests.learning_platform.tap import Tap

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

EMAIL, PASSWORD = "new.student@example.org", "seven green plums 7"  # noqa: S105
FPS = 30


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    require_npm()
    folder = tmp_path_factory.mktemp("live")
    live = Live(folder, make_model(folder / "model"))
    yield live
    live.kill()


@pytest.fixture
def film(shared_data, tmp_path):
    """A dark face, a bright one, none; some seconds each."""
    face = read_faces(shared_data / "faces" / "fer2013.tar.gz", 1)[0]
    dark, bright = (frame(face, FACES[name]) for name in ("dark", "bright"))
    parts = [(dark, 6 * FPS), (bright, 5 * FPS), (frame(None, 0), 4 * FPS)]
    return write_film(tmp_path / "film.mjpeg", parts)


def register(page, live, url):
    page.goto(url + "/register/")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_role("button", name="Send the link").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()
    page.goto(re.search(r"http://\S+", live.mails()[-1])[0])
    page.get_by_label("Name").fill("Nora New")
    page.get_by_label("Password:").fill(PASSWORD)
    page.get_by_label("Password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Open the account").click()
    page.get_by_role("button", name="Join").click()


def watch_the_film(page):
    """Consents, switches the camera on, and sees the emotion follow the film."""
    page.get_by_role("link", name="Pixels and convolutions").click()
    assert page.get_by_role("switch").count() == 0  # no camera before the consent
    shot(page, "story-consent")
    page.get_by_label("My tutor may be told").check()
    page.get_by_role("button", name="I agree that the camera is read").click()
    page.get_by_role("switch", name="Camera").click()
    emotion = page.locator("#emotion")
    sync_api.expect(emotion).to_have_text("sad", timeout=10_000)
    message = page.locator("#support p")
    sync_api.expect(message).to_be_visible(timeout=10_000)
    shot(page, "story-message")
    sync_api.expect(emotion).to_have_text("happy", timeout=10_000)
    shot(page, "story-happy")
    sync_api.expect(page.locator("#state")).to_have_text("No face is in view.", timeout=10_000)
    page.wait_for_timeout(1500)  # so that a reading without a face is sent
    page.get_by_role("switch", name="Camera").click()
    sync_api.expect(page.locator("#state")).to_have_text("The camera is off.")
    return message.inner_text()


def set_rule(page, live):
    """The tutor wants a message after three readings in a row."""
    log_in(page, live, "tutor@example.org")
    page.get_by_role("link", name="Students and lessons").click()
    page.get_by_role("link", name="Messages of support").click()
    page.get_by_label("Readings in a row").fill("3")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()


def test_from_registration_to_deletion(live, film):
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright, film)
        tutor = browser.new_context().new_page()
        set_rule(tutor, live)
        page = browser.new_context().new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        hosts = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: hosts.add(socket.url))
        tap = Tap(live.port)
        register(page, live, tap.url)
        message = watch_the_film(page)
        check_requests(tap.requests())
        assert hosts == {urlsplit(tap.url).netloc}
        page.get_by_role("link", name="My emotions").first.click()
        assert page.locator("svg g").count() >= 1
        shot(page, "story-history")
        check_tutor_page(tutor, message)
        page.reload()
        assert page.get_by_text("tutor@example.org, viewed").count() >= 1
        delete_all(page, tutor, live)
        assert errors == []
        browser.close()


def check_requests(requests):
    """The first way: nothing that could be a picture leaves the browser."""
    readings = [json.loads(body) for _, path, body in requests if path.endswith("/readings/")]
    assert len(readings) >= 10
    for given in readings:
        assert set(given) == {"sequence", "probabilities"}
        assert given["probabilities"] is None or set(given["probabilities"]) == set(CLASSES)
    assert any(given["probabilities"] is None for given in readings)
    known = (
        r"/register/.*|/courses/\d+/join/|/account/consent/|/lessons/\d+/visits/|/visits/\d+/\w+/"
    )
    for method, path, body in requests:
        assert method in ("GET", "POST") and len(path) < 200
        assert not body or re.fullmatch(known, path), path
        # A picture of the face has 2304 bytes, a JPEG of the camera thousands.
        assert len(body) < 500 and b"\xff\xd8" not in body, path


def check_tutor_page(tutor, message):
    """The tutor sees the record, its chart, and the note."""
    tutor.get_by_role("link", name="How a network reads a face").first.click()
    tutor.get_by_role("link", name="Nora New").click()
    assert tutor.locator("svg g").count() >= 1
    assert "sad" in tutor.locator("main").inner_text()
    shot(tutor, "story-tutor")
    tutor.get_by_role("link", name="How a network reads a face").click()
    tutor.get_by_role("link", name="Notes").click()
    notes = tutor.locator("main").inner_text()
    assert "Nora New" in notes and message in notes


def delete_all(page, tutor, live):
    page.get_by_role("link", name="Delete everything").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Everything about your emotions is deleted.").wait_for()
    assert page.locator("svg g").count() == 0
    tutor.reload()
    assert "Nora New" not in tutor.locator("main").inner_text()
    with sqlite3.connect(live.data / "db.sqlite3") as database:
        person = database.execute("SELECT id FROM people_user WHERE email = ?", [EMAIL]).fetchone()
        for table in ("emotionrecord", "visit", "supportevent"):
            query = f"SELECT COUNT(*) FROM emotions_{table} WHERE student_id = ?"
            assert database.execute(query, person).fetchone() == (0,), table
