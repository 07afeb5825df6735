"""The page in a real browser: Chromium, whose camera is a film made here."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxvision.serve.service import Model
from jaxvision.task import Prediction, Predictor, Prepared
from tests.serve.running import Fake, Running, png, wait_until

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film of a disc that wanders: JPEGs one after the other, which Chromium takes as MJPEG."""
    path = tmp_path_factory.mktemp("film") / "camera.mjpeg"
    with open(path, "wb") as file:
        for t in range(30):
            frame = Image.new("RGB", (320, 240), (40, 60, 80))
            ImageDraw.Draw(frame).ellipse((8 * t, 60, 8 * t + 80, 160), fill=(250, 200, 90))
            frame.save(file, "JPEG", quality=90)
    return path


@pytest.fixture(scope="module")
def browser(film):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here: apt-get install chromium, as .ci/run does")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


def engine_of(fake, task, record, arrays=None, **fields):
    """An engine of a task, with an answer that a real one of it could give."""

    def decode(outputs, size, fitted):
        return Prediction(record(*size), arrays(*size) if arrays else {})

    predictor = Predictor(
        prepare=lambda p: Prepared(np.zeros((1, 4, 4, 3), np.uint8), p.shape[:2]),
        decode=decode,
        render=lambda picture, prediction: picture,
        describe=str,
        write=None,
        extensions=(),
        **fields,
    )
    return fake.engine()._replace(task=task, predictor=predictor)


def face(height, width):
    p = {"happy": 0.7, "sad": 0.2, "<b>odd</b>": 0.1}
    box = [width // 4, height // 4, width // 2, height // 2]
    one = {"box": box, "score": 0.9, "label": "happy", "probabilities": p}
    return {"width": width, "height": height, "faces": [one]}


def outlines(prediction, place):
    ring = [[2, 2], [20, 2], [20, 12], [2, 12], [2, 2]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]}


LOOKS = [{"x": 10 + 8 * t, "y": 10, "sides": [8, 16]} for t in range(4)]
ANSWERS = {
    "classification": (face, {}),
    "segmentation": (
        lambda h, w: {"width": w, "height": h, "building_share": 0.25, "threshold": 0.5},
        {"arrays": lambda h, w: {"mask": np.ones((h, w), bool)}, "geojson": outlines},
    ),
    "perception": (
        lambda h, w: {"scores": {"safe": 6.2, "lively": 3.0},
                      "uncertainty": {"safe": 1.1, "lively": 0.4}},
        {},
    ),
    "keypoints": (
        lambda h, w: {"points": {"head": [9.0, 5.0, 0.9], "base": [30.0, 20.0, 0.6]},
                      "heading_degrees": 144.5, "heading_confidence": 0.8},
        {},
    ),
    "attention": (
        lambda h, w: {"glimpses": LOOKS,
                      "locations": [[0, 0]] * 4, "psnr": [9.0, 11.0, 13.0, 14.0, 15.5]},
        {"arrays": lambda h, w: {"reconstructions": np.zeros((5, 8, 8, 1), np.uint8)}},
    ),
}  # fmt: skip
WORDS = {
    "classification": "1 face: happy 70\u00a0%",
    "segmentation": "1 footprint, 25\u00a0% of the picture is building",
    "perception": "safe 6.2 ± 1.1, lively 3.0 ± 0.4",
    "keypoints": "heading 145°, confidence 80\u00a0%",
    "attention": "15.5 dB after 4 glimpses",
}


def land(height, width):
    """An answer of several classes."""
    shares = {"background": 0.65, "building": 0.1, "<i>water</i>": 0.25}
    return {"width": width, "height": height, "shares": shares}


def land_outlines(prediction, place):
    features = outlines(prediction, place)["features"] * 2
    named = [
        {**feature, "properties": {"class": name, "fill": fill}}
        for feature, name, fill in zip(
            features, ("building", "<i>water</i>"), ("#ff3c00", "#0096ff"), strict=True
        )
    ]
    return {"type": "FeatureCollection", "features": named}


@pytest.fixture(scope="module")
def fake():
    return Fake()


@pytest.fixture(scope="module")
def running(fake):
    served = [
        Model(task, None, "", engine_of(fake, task, record, **fields))
        for task, (record, fields) in ANSWERS.items()
    ]
    engine = engine_of(fake, "segmentation", land, geojson=land_outlines)
    engine = engine._replace(info={"classes": list(land(1, 1)["shares"])})
    served.append(Model("land", None, "", engine))
    with Running(*served) as running:
        yield running


@contextlib.contextmanager
def opened(browser, address, **options):
    """A page; nothing may be refused by its policy, nothing may fail in it."""
    context = browser.new_context(**options)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if "Content Security" in m.text else None)
    page.goto(address)
    yield page
    context.close()
    assert not problems


def drop(page, name, data):
    """Drops a file on the page, as a hand would."""
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            return transfer;
        }""",
        [name, list(data)],
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", kind, {"dataTransfer": transfer})


def photo(height=60, width=90):
    return png(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8), "JPEG")


@pytest.mark.parametrize("task", ANSWERS)
def test_a_dropped_picture_is_answered_in_words_and_drawn(browser, running, task):
    with opened(browser, f"{running.address}/models/{task}/") as page:
        assert page.inner_text("nav a[aria-current]") == task
        drop(page, "photo.jpg", photo())
        page.wait_for_selector("#answers article")
        assert page.inner_text("#status") == f"photo.jpg: {WORDS[task]}"
        canvas = page.locator("#answers canvas").first
        assert canvas.get_attribute("aria-label") == f"photo.jpg: {WORDS[task]}"
        drawn = Image.open(io.BytesIO(canvas.screenshot()))
        assert drawn.width > 200 and len(drawn.convert("RGB").getcolors(2**20)) > 50


def test_footprints_have_a_slider_and_downloads(browser, running):
    with opened(browser, f"{running.address}/models/segmentation/") as page:
        page.set_input_files(
            "#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo()}
        )
        slider = page.get_by_label("How much the footprints cover the photo")
        canvas = page.locator("#answers canvas").first
        before = canvas.screenshot()
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowLeft")
        assert canvas.screenshot() != before
        with page.expect_download() as download:
            page.get_by_text("Footprints (GeoJSON)").click()
        assert download.value.suggested_filename == "a.geojson"
        assert len(json.loads(download.value.path().read_text())["features"]) == 1
        with page.expect_download() as download:
            page.get_by_text("Mask (PNG)").click()
        assert Image.open(download.value.path()).size == (90, 60)


def test_classes_of_masks_are_told_in_words_and_colours(browser, running):
    with opened(browser, f"{running.address}/models/land/") as page:
        assert page.inner_text("#about") == "Finds building, <i>water</i> in aerial photos"
        drop(page, "photo.jpg", photo())
        page.wait_for_selector("#answers article")
        told = "2 footprints, <i>water</i> 25\u00a0%, building 10\u00a0% of the picture"
        assert page.inner_text("#answers .big") == told
        names = page.locator("#answers .bars dt").all_inner_texts()
        assert names == ["background", "<i>water</i>", "building"]
        swatches = page.locator("#answers .bars .swatch")
        colours = [
            swatches.nth(i).evaluate("e => getComputedStyle(e).backgroundColor") for i in range(2)
        ]
        assert colours == ["rgb(0, 150, 255)", "rgb(255, 60, 0)"]


def test_glimpses_are_shown_one_after_the_other(browser, running):
    with opened(browser, f"{running.address}/models/attention/") as page:
        drop(page, "photo.jpg", photo())
        page.get_by_text("Glimpse 4 of 4, 15.5 dB").wait_for()
        page.get_by_role("button", name="Back").click()
        page.get_by_text("Glimpse 3 of 4, 14.0 dB").wait_for()
        page.get_by_role("button", name="Play").click()
        page.get_by_text("Glimpse 1 of 4").wait_for()
        page.get_by_text("Glimpse 4 of 4").wait_for()


def test_what_went_wrong_is_told_in_words(browser, running, fake):
    with opened(browser, f"{running.address}/models/classification/") as page:
        drop(page, "broken.jpg", photo()[:200])
        page.wait_for_selector("#error:not([hidden])")
        told = page.inner_text("#error")
        assert told.startswith("broken.jpg: The picture")
        drop(page, "letter.pdf", b"%PDF-1.7 nothing")
        page.get_by_text("Not a picture that can be read").wait_for()
        fake.fails = True
        drop(page, "photo.jpg", photo())
        page.get_by_text("The prediction failed").wait_for()
        fake.fails = False
        drop(page, "photo.jpg", photo())
        page.wait_for_selector("#answers article")
        assert page.is_hidden("#error")
        # Names are text, whatever they look like.
        assert page.get_by_text("<b>odd</b>", exact=True).is_visible()


def test_the_camera_is_live_for_five_seconds(browser, running):
    frames = ("frames_total", {"model": "classification", "answer": "predicted"})
    with opened(browser, f"{running.address}/models/classification/") as page:
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_selector("#live article canvas")
        first = running.metric(frames[0], **frames[1])
        page.wait_for_timeout(5000)
        answered = running.metric(frames[0], **frames[1]) - first
        canvas = page.locator("#live canvas")
        assert canvas.get_attribute("aria-label") == f"Camera: {WORDS['classification']}"
        assert "frames a second" in page.inner_text("#status")
        assert answered >= 5 and page.is_hidden("#error")
        page.get_by_role("button", name="Stop the camera").click()
        page.get_by_text("The camera is off.").wait_for()
    wait_until(lambda: running.service.places.left == running.limits.places)  # its last frame


def test_the_page_can_be_used_with_a_keyboard_alone(browser, running):
    with opened(browser, f"{running.address}/") as page:
        page.wait_for_selector("nav a")
        links, reached = page.locator("nav a").count(), []
        assert links == len(ANSWERS) + 1
        for _ in range(links + 2):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.id || document.activeElement.tagName")
            )
        assert reached == ["A"] * links + ["files", "camera"]
        page.keyboard.press("Enter")
        page.wait_for_selector("#live article")
        page.keyboard.press("Enter")
        page.get_by_text("The camera is off.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_telephone_and_follows_light_and_dark(browser, running, scheme):
    options = {"viewport": {"width": 360, "height": 640}, "color_scheme": scheme}
    with opened(browser, f"{running.address}/models/perception/", **options) as page:
        drop(page, "photo.jpg", photo(600, 900))
        page.wait_for_selector("#answers article")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
        value = int(shade.split("(")[1].split(",")[0])
        assert value > 200 if scheme == "light" else value < 60


def test_a_server_with_a_token_is_asked_with_it(browser):
    record, fields = ANSWERS["keypoints"]
    model = Model("keypoints", None, "", engine_of(Fake(), "keypoints", record, **fields))
    served = Running(model, token="secret-secret-secret")
    with served as running, opened(browser, running.address) as page:
        page.wait_for_selector("#access:not([hidden])")
        page.get_by_label("This server asks for its token").fill("secret-secret-secret")
        page.keyboard.press("Enter")
        page.get_by_text("Finds points of an animal").wait_for()
        drop(page, "photo.jpg", photo())
        page.wait_for_selector("#answers article")
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_selector("#live article canvas")
