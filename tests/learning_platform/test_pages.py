"""Every page in a real browser: axe-core finds nothing serious, nothing is wider than 360 px, no
script or style is stopped by the policy, and the keyboard is enough. In light and in dark.

SCREENSHOTS=folder keeps a picture of each.
"""

import pytest
from django.db import connections
from django.urls import reverse

from learning_platform import browser_files
from tests.learning_platform.live import Live, launch, log_in, require_npm, shot
from tests.learning_platform.model_folder import CLASSES, make_model
from tests.learning_platform.test_access import ROLES, RULES

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PEOPLE = {
    "visitor": None,
    "sam": "sam@example.org",
    "tutor": "tutor@example.org",
    "admin": "admin@example.org",
}
ADMIN = ["index", "people_user_changelist", "people_user_add", "courses_course_changelist"]
ADMIN += ["courses_module_changelist", "courses_enrolment_add", "people_auditentry_changelist"]


@pytest.fixture(scope="module")
def live(tmp_path_factory, platform_folder):
    """The demo, with records of seven students and a picture of what the tutor sees."""
    require_npm()
    folder = tmp_path_factory.mktemp("pages")
    live = Live(folder, make_model(folder / "model"))
    try:
        connections.close_all()
        connections["default"].settings_dict["NAME"] = str(live.data / "db.sqlite3")
        fill()
        yield live
    finally:
        connections.close_all()
        live.kill()


def fill():
    from datetime import timedelta

    from django.utils import timezone

    from learning_platform.courses.models import Course, Enrolment
    from learning_platform.emotions.models import EmotionRecord, SupportEvent, Visit
    from learning_platform.people.consent import give
    from learning_platform.people.models import User

    course = Course.objects.get()
    lesson = course.modules.first().lessons.first()
    for i in range(4):
        student = User.objects.create_user(f"s{i}@example.org", None, name=f"Student {i}")
        Enrolment.objects.create(course=course, student=student)
    start = timezone.now() - timedelta(minutes=20)
    labels = ["neutral", "happy", "sad", "neutral", "surprise", "angry"]
    for n, student in enumerate(course.students.all()):
        visit = Visit.objects.create(student=student, lesson=lesson, started_at=start)
        for i in range(40):
            label = labels[(i // 5 + n) % 6]
            odds = dict.fromkeys(CLASSES, 0.05)
            odds[label] = 0.7
            lost = 22 <= i < 26
            EmotionRecord.objects.create(
                student=student,
                module=lesson.module,
                lesson=lesson,
                visit=visit,
                time=start + timedelta(seconds=20 * (i + 1)),
                seconds=20,
                seen=2 if lost else 20,
                absent=18 if lost else 0,
                label=label,
                probabilities=odds,
            )
    sam = User.objects.get(email="sam@example.org")
    for kind in ("camera", "tutor"):
        give(sam, kind)
    SupportEvent.objects.create(
        student=sam,
        lesson=lesson,
        text=course.support_messages.first().text,
        emotion="sad",
        for_tutor=True,
    )


@pytest.fixture(scope="module")
def axe(live, tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    try:
        browser_files.unpack(browser_files.fetch("axe-core", folder), ["axe.min.js"], folder)
    except browser_files.NotToBeHad as error:
        pytest.skip(str(error))
    return (folder / "axe.min.js").read_text()


def places() -> dict[str, str]:
    """Where each page with a GET is in the demo."""
    from learning_platform.courses.models import Course
    from learning_platform.people.models import User

    course = Course.objects.get()
    module = course.modules.first()
    lesson = module.lessons.first()
    sam = User.objects.get(email="sam@example.org")
    message = course.support_messages.first()
    args = {
        **dict.fromkeys(("course", "tutor_course", "tutor_messages"), [course.pk]),
        **dict.fromkeys(("message_new", "tutor_notes"), [course.pk]),
        **dict.fromkeys(("message_edit", "message_delete"), [message.pk]),
        **dict.fromkeys(("lesson", "lesson_edit", "lesson_delete"), [lesson.pk]),
        "lesson_new": [module.pk],
        "student_records": [module.pk, sam.pk],
        "password_reset_confirm": ["MQ", "set-wrong"],
        "register_finish": [_registration()],
    }
    files = {"lesson_file", "model_file", "history_download", "student_records_csv"}
    pages = [name for name, rule in RULES.items() if {200, 404} & set(rule["GET"])]
    pages = [name for name in pages if name not in files | {"reading"}]
    return {name: reverse(name, args=args.get(name)) for name in pages}


def _registration() -> str:
    from django.core import signing

    from learning_platform.people.views import SALT

    return signing.dumps("somebody.new@example.org", salt=SALT)


def pages_of(who: str) -> dict[str, str]:
    column = ROLES.index(who)
    public = {name for name, rule in RULES.items() if rule["GET"][0] in (200, 404)}
    found = {
        name: path
        for name, path in places().items()
        if (name in public if who == "visitor" else RULES[name]["GET"][column] == 200)
        and (who == "visitor" or name not in public)
    }
    if who == "admin":
        found |= {f"admin_{name}": reverse(f"admin:{name}") for name in ADMIN}
    return {**found, "not_found": "/nothing/here/"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("who", PEOPLE)
def test_every_page(live, axe, who, scheme, monkeypatch):
    # Links signed here must be good there.
    from django.conf import settings

    monkeypatch.setattr(settings, "SECRET_KEY", (live.data / "secret_key").read_text())
    wrong, pages = [], pages_of(who)
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_context(color_scheme=scheme).new_page()
        page.on("console", lambda message: wrong.extend(stopped(page.url, message.text)))
        if PEOPLE[who]:
            log_in(page, live, PEOPLE[who])
        for name, path in pages.items():
            page.goto(live.url + path)
            wrong += [f"{who} {name}: {fault}" for fault in faults(page, axe)]
            shot(page, f"{who}-{name}-{scheme}")
            page.set_viewport_size({"width": 360, "height": 740})
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 360 and not name.startswith("admin_"):  # Django's own pages scroll
                wrong.append(f"{who} {name}: {width} px wide")
            if name in ("lesson", "history", "student_records"):
                shot(page, f"{who}-{name}-{scheme}-360")
            page.set_viewport_size({"width": 1280, "height": 720})
        browser.close()
    assert not wrong, "\n".join(wrong)


def stopped(url: str, text: str) -> list[str]:
    """What the policy stopped. Django's forms bring jQuery, which tries out an inline style."""
    return [f"{url}: {text}"] if "Content Security" in text and "/admin/" not in url else []


def faults(page, axe: str) -> list[str]:
    """What axe-core calls serious or critical."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:150]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def test_keyboard_is_enough(live):
    """From the log-in to a lesson and the camera's switch without a mouse."""
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.goto(live.url + "/privacy/")
        page.keyboard.press("Tab")
        assert focused(page) == "To the content"
        tab_to(page, "Log in")
        page.keyboard.press("Enter")
        page.wait_for_url(live.url + "/login/")
        # Keys go where the page put the cursor, which a browser does some time after loading.
        sync_api.expect(page.get_by_label("E-mail")).to_be_focused()
        page.keyboard.type("sam@example.org")
        page.keyboard.press("Tab")
        page.keyboard.type(live.passwords["sam@example.org"])
        page.keyboard.press("Enter")
        page.wait_for_url(live.url + "/")
        for words in ("How a network reads a face", "Pixels and convolutions"):
            tab_to(page, words)
            with page.expect_navigation():
                page.keyboard.press("Enter")
        tab_to(page, "Camera")
        page.keyboard.press("Enter")
        switch = page.get_by_role("switch", name="Camera")
        sync_api.expect(switch).to_have_attribute("aria-checked", "true")
        page.keyboard.press("Space")
        sync_api.expect(switch).to_have_attribute("aria-checked", "false")
        browser.close()


def focused(page) -> str:
    return page.evaluate("document.activeElement.innerText ?? ''").strip()


def tab_to(page, words: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page) == words:
            return
    raise AssertionError(f"{words!r} cannot be reached")
