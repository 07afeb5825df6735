"""The second way in a real browser: nothing can be had for the page, so small pictures are sent."""

from pathlib import Path

import pytest

from tests.learning_platform.film import FACES, frame, read_faces, write_film
from tests.learning_platform.live import OFFLINE, Live, launch, log_in, shot
from tests.learning_platform.model_folder import make_model
from tests.learning_platform.tap import Tap

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture
def live(tmp_path):
    model = make_model(tmp_path / "model")
    live = Live(tmp_path / "live", model, **OFFLINE, npm_config_cache=str(tmp_path / "npm"))
    yield live
    live.kill()


@pytest.fixture
def film(shared_data, tmp_path):
    face = read_faces(shared_data / "faces" / "fer2013.tar.gz", 1)[0]
    return write_film(tmp_path / "film.mjpeg", [(frame(face, FACES["bright"]), 60)])


def test_pictures_are_sent_only_after_a_second_consent_and_nowhere_kept(live, film):
    assert "second way" in live.log.read_text()  # whoever starts it is told
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright, film)
        page = browser.new_page()
        tap = Tap(live.port)
        log_in(page, live, "sam@example.org", tap.url)
        page.get_by_role("link", name="How a network reads a face").click()
        page.get_by_role("link", name="Pixels and convolutions").click()
        page.get_by_role("button", name="I agree that the camera is read").click()
        page.get_by_role("switch", name="Camera").click()
        words = page.get_by_text("The second way: once a second a small picture")
        sync_api.expect(words).to_be_visible()
        page.wait_for_timeout(1500)
        assert sent_frames(tap) == []
        shot(page, "story-second-way")
        page.get_by_role("button", name="I agree to small pictures on the server").click()
        page.get_by_role("switch", name="Camera").click()
        sync_api.expect(page.locator("#emotion")).to_have_text("happy", timeout=10_000)
        page.wait_for_timeout(2500)
        page.get_by_role("switch", name="Camera").click()
        sync_api.expect(page.locator("#state")).to_have_text("The camera is off.")
        browser.close()
    frames = sent_frames(tap)
    assert len(frames) >= 3 and all(body.startswith(b"\xff\xd8") for body in frames)
    assert_nowhere(frames, live)


def sent_frames(tap: Tap) -> list[bytes]:
    return [body for _, path, body in tap.requests() if path == "/frames/"]


def assert_nowhere(frames: list[bytes], live: Live) -> None:
    """No file of the platform holds 24 bytes of a frame's middle, one after another."""
    root: Path = live.data.parent
    kept = b"".join(f.read_bytes() for f in root.rglob("*") if f.is_file())
    assert b"sam@example.org" in kept  # the database is among them
    for body in frames:
        middle = len(body) // 2
        assert body[middle : middle + 24] not in kept
