"""role x page x method -> status, for every URL. A view without a rule fails here."""

import pytest
from django.urls import URLPattern, get_resolver, reverse

from tests.learning_platform.school import post_reading

ROLES = ["visitor", "sam", "sue", "sid", "tutor", "other_tutor", "admin"]
SAFE = ("GET", "HEAD")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def rule(get, post):
    """Statuses of GET and POST for the ROLES in order, or one for all of them."""
    spread = [s if isinstance(s, tuple) else (s,) * len(ROLES) for s in (get, post)]
    return dict(zip(("GET", "POST"), spread, strict=True))


NO = 405
EVERYBODY = (200,) * 7
SIGNED_IN = (302, 200, 200, 200, 200, 200, 200)
GONE_IN = (200, 302, 302, 302, 302, 302, 302)  # for visitors only: others go home
NOT_METHOD = (302, *(NO,) * 6)  # visitors go to the log-in before anything else is looked at
STUDENTS = (302, 200, 200, 200, 404, 404, 404)
# The pages of `course`: read by its students sam and sue, its tutor, and administrators.
READERS = (302, 200, 200, 404, 200, 404, 200)
TUTOR = (302, 404, 404, 404, 200, 404, 404)
TUTOR_SAVES = (302, 404, 404, 404, 302, 404, 404)
TUTOR_WRONG = (302, 404, 404, 404, 400, 404, 404)  # an empty upload

# Of POSTs without a body: what only students of the course may do, and where it takes them.
RULES = {
    "privacy": rule(EVERYBODY, NO),
    "language": rule(405, 302),
    "register": rule(GONE_IN, GONE_IN),
    "register_sent": rule(EVERYBODY, NO),
    "register_finish": rule(404, 404),  # the token is wrong
    "login": rule(GONE_IN, GONE_IN),
    "logout": rule((302, *(405,) * 6), 302),
    "password_reset": rule(EVERYBODY, EVERYBODY),
    "password_reset_done": rule(EVERYBODY, NO),
    "password_reset_confirm": rule(EVERYBODY, EVERYBODY),  # says that the link is wrong
    "password_reset_complete": rule(EVERYBODY, NO),
    "account": rule(SIGNED_IN, SIGNED_IN),
    "consent": rule(NOT_METHOD, (302, 302, 302, 302, 404, 404, 404)),
    "password_change": rule(SIGNED_IN, SIGNED_IN),
    "password_change_done": rule(SIGNED_IN, NOT_METHOD),
    "home": rule(SIGNED_IN, NOT_METHOD),
    "course": rule(READERS, NOT_METHOD),
    "join": rule(NOT_METHOD, (302, 404, 404, 404, 404, 404, 404)),  # not an open course
    "lesson": rule(READERS, NOT_METHOD),
    "lesson_done": rule(NOT_METHOD, (302, 302, 302, 404, 404, 404, 404)),
    "lesson_file": rule(READERS, NOT_METHOD),
    "history": rule(STUDENTS, NOT_METHOD),
    "history_download": rule(STUDENTS, NOT_METHOD),
    "history_delete": rule(STUDENTS, (302, 302, 302, 302, 404, 404, 404)),
    "model_file": rule(SIGNED_IN, NOT_METHOD),
    "start_visit": rule(NOT_METHOD, (302, 201, 403, 404, 404, 404, 404)),  # sue did not consent
    "reading": rule(NO, 404),  # without the visit's token
    "end_visit": rule(NOT_METHOD, (302, 204, 404, 404, 404, 404, 404)),  # it is sam's
    "frame": rule(NOT_METHOD, (302, 403, 403, 403, 404, 404, 404)),  # nobody agreed to that
    "tutor_course": rule(TUTOR, NOT_METHOD),
    "tutor_messages": rule(TUTOR, TUTOR),
    "message_new": rule(TUTOR, TUTOR),
    "tutor_notes": rule(TUTOR, NOT_METHOD),
    "message_edit": rule(TUTOR, TUTOR),
    "message_delete": rule(TUTOR, TUTOR_SAVES),
    "lesson_new": rule(TUTOR, TUTOR),
    "lesson_edit": rule(TUTOR, TUTOR),
    "lesson_delete": rule(TUTOR, TUTOR_SAVES),
    "file_add": rule(NOT_METHOD, TUTOR_WRONG),
    "file_delete": rule(NOT_METHOD, TUTOR_SAVES),
    "student_records": rule(TUTOR, NOT_METHOD),
    "student_records_csv": rule(TUTOR, NOT_METHOD),
}


def every_page() -> list[str]:
    """Names of the URL configuration outside the administration; a nameless one is an error."""
    patterns = get_resolver().url_patterns
    pages = [p for p in patterns if isinstance(p, URLPattern)]
    assert all(page.name for page in pages)
    others = [p for p in patterns if not isinstance(p, URLPattern)]
    assert [p.app_name for p in others] == ["admin"]
    return [page.name for page in pages]


@pytest.fixture
def places(school):
    """Where each page is, for sam's records in the tutor's course."""
    from learning_platform import expression_model

    _, visit = school.visit(school.sam, school.lesson)
    version = expression_model.load(_model()).version
    message = school.course.support_messages.first()
    pk = {
        **dict.fromkeys(("course", "join", "tutor_course", "tutor_messages"), school.course.pk),
        **dict.fromkeys(("message_new", "tutor_notes"), school.course.pk),
        **dict.fromkeys(("lesson", "lesson_done", "start_visit"), school.lesson.pk),
        **dict.fromkeys(("lesson_edit", "lesson_delete", "file_add"), school.lesson.pk),
        **dict.fromkeys(("lesson_file", "file_delete"), school.file.pk),
        **dict.fromkeys(("reading", "end_visit"), visit),
        **dict.fromkeys(("message_edit", "message_delete"), message.pk),
        "lesson_new": school.module.pk,
    }
    args = {name: [value] for name, value in pk.items()}
    args["register_finish"] = ["wrong"]
    args["password_reset_confirm"] = ["MQ", "set-wrong"]
    args["model_file"] = [version]
    args["student_records"] = args["student_records_csv"] = [school.module.pk, school.sam.pk]
    return {name: reverse(name, args=args.get(name)) for name in every_page()}


def _model() -> str:
    from django.conf import settings

    return settings.EXPRESSION_MODEL


def test_every_page_has_a_rule(school):
    assert sorted(every_page()) == sorted(RULES)


@pytest.mark.parametrize("role", ROLES)
def test_table_of_roles_pages_methods(school, places, role):
    """Each request in a transaction of its own that is undone, so that none changes the next."""
    from django.db import transaction

    wrong = []
    client = school.client(getattr(school, role, None))
    cookies = client.cookies.copy()
    for name, path in places.items():
        for method in METHODS:
            client.cookies = cookies.copy()  # a log-out takes them
            expected = _expected(name, method, role)
            with transaction.atomic():
                status = client.generic(method, path).status_code
                transaction.set_rollback(True)
            if status != expected:
                wrong.append(f"{role} {method} {name}: {status}, not {expected}")
    assert not wrong, "\n".join(wrong)


def _expected(name: str, method: str, role: str) -> int:
    column = ROLES.index(role)
    if method in SAFE:
        return RULES[name]["GET"][column]
    if method == "POST":
        return RULES[name]["POST"][column]
    # Nothing answers to other methods, but the log-in stands before that; where all may GET or
    # POST, visitors see the 405 too.
    public = {n for n, r in RULES.items() if r["GET"][0] != 302 or n == "language"}
    return 302 if role == "visitor" and name not in public else 405


@pytest.mark.parametrize("role", ROLES)
def test_administration_is_for_administrators(school, role):
    from django.contrib import admin

    client = school.client(getattr(school, role, None))
    lists = [
        f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist" for m in admin.site._registry
    ]
    assert "admin:people_auditentry_changelist" in lists
    expected = 200 if role == "admin" else 302
    for name in ["admin:index", *lists]:
        assert client.get(reverse(name)).status_code == expected, name


def test_administration_has_no_emotions(school):
    from django.contrib import admin

    registered = {model.__name__ for model in admin.site._registry}
    assert not registered & {"EmotionRecord", "Visit", "SupportEvent", "Consent"}


def test_readings_need_the_token_of_their_visit(school):
    """The body is right, only who sends it is not: as if there were no such visit."""
    client, visit = school.visit(school.sam, school.lesson)
    other, others = school.visit(school.sue, school.lesson)
    assert post_reading(client, visit, 1, "happy").status_code == 200
    assert post_reading(other, visit, 2, "happy").status_code == 404
    assert post_reading(client, others, 2, "happy").status_code == 404
    assert post_reading(school.client(school.sam), visit, 2, "happy").status_code == 404
    forged = client.defaults["HTTP_X_VISIT_TOKEN"][:-1]
    assert (
        post_reading(
            school.client(school.sam, HTTP_X_VISIT_TOKEN=forged), visit, 2, "happy"
        ).status_code
        == 404
    )


def test_a_token_is_worth_nothing_after_the_log_out(school):
    client, visit = school.visit(school.sam, school.lesson)
    client.post("/logout/")
    assert post_reading(client, visit, 1, "happy").status_code == 404
    client, visit = school.visit(school.sam, school.lesson)
    school.sam.is_active = False
    school.sam.save()
    assert post_reading(client, visit, 1, "happy").status_code == 404


def test_tutor_sees_no_student_of_another_course(school):
    client = school.client(school.tutor)
    path = reverse("student_records", args=[school.module.pk, school.sid.pk])
    assert client.get(path).status_code == 404
    assert client.get(path + "emotions.csv").status_code == 404
