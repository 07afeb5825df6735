"""Accounts, and what is right by default."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth import get_user
from django.core import mail
from django.urls import reverse

from learning_platform.people.models import AuditEntry, Consent, User
from tests.learning_platform.school import PASSWORD, School

ROOT = Path(__file__).parents[2]


def link_in(text: str) -> str:
    return re.search(r"http://testserver(\S+)", text)[1]


def test_register_by_mail(school):
    client = school.client(None)
    client.post("/register/", {"email": "New@Example.org"})
    assert not User.objects.filter(email="new@example.org").exists()  # not before the mail is read
    (message,) = mail.outbox
    assert message.to == ["new@example.org"]
    link = link_in(message.body)
    assert "too common" in client.post(link, {"name": "N", **both("password123")}).content.decode()
    assert "too short" in client.post(link, {"name": "N", **both("x9!kQ")}).content.decode()
    assert client.post(link, {"name": "New", **both(PASSWORD)}).url == "/"
    user = get_user(client)
    assert (user.email, user.role, user.is_staff) == ("new@example.org", "student", False)
    assert user.password.startswith("argon2$")
    assert school.client(None).post(link, {"name": "x", **both(PASSWORD)}).url == "/login/"


def both(password: str) -> dict[str, str]:
    return {"password1": password, "password2": password}


@pytest.mark.parametrize("path", ["/register/", "/password/forgotten/"])
def test_nobody_learns_who_has_an_account(school, path):
    """Known or not, the answer is the same to the byte, but for the token against forgery."""
    answers = []
    school.sam.set_password(PASSWORD)  # a reset is for accounts with a password
    school.sam.save()
    for email in ("sam@example.org", "nobody@example.org"):
        response = school.client(None).post(path, {"email": email}, follow=True)
        token = r'name="csrfmiddlewaretoken" value="\w+"'
        answers.append((response.redirect_chain, re.sub(token, "", response.content.decode())))
    assert answers[0] == answers[1]
    known = [m for m in mail.outbox if m.to == ["sam@example.org"]]
    assert len(known) == 1 and ("/login/" if "register" in path else "/password/") in known[0].body


def test_log_in_says_the_same_for_wrong_password_and_unknown_address(school):
    school.sam.set_password(PASSWORD)
    school.sam.save()
    texts = [
        re.findall(r'class="errorlist nonfield"[^>]*>(.*?)</ul>', response.content.decode())
        for email in ("sam@example.org", "nobody@example.org")
        for response in [log_in(school, email, "wrong wrong 1")]
    ]
    assert texts[0] == texts[1] and texts[0]
    assert log_in(school, "Sam@example.org ", PASSWORD).status_code in (200, 302)


def log_in(school, email, password, client=None):
    client = client or school.client(None)
    return client.post("/login/", {"username": email, "password": password})


def test_lock_out_after_failed_log_ins(school):
    school.sam.set_password(PASSWORD)
    school.sam.save()
    statuses = [log_in(school, "sam@example.org", f"wrong {i}").status_code for i in range(5)]
    assert statuses == [200] * 4 + [429]
    assert log_in(school, "sam@example.org", PASSWORD).status_code == 429
    assert log_in(school, "SAM@Example.org", PASSWORD).status_code == 429
    assert log_in(school, "sue@example.org", "wrong").status_code == 200  # of the same school
    other = school.client(None, REMOTE_ADDR="10.0.0.9")  # sam at home can still log in
    assert log_in(school, "sam@example.org", PASSWORD, other).status_code == 302


def test_registering_is_limited_by_address(school, settings):
    settings(REQUESTS_AN_HOUR=3)
    client = school.client(None)
    statuses = [
        client.post("/register/", {"email": f"n{i}@example.org"}).status_code for i in range(4)
    ]
    assert statuses == [302, 302, 302, 429] and len(mail.outbox) == 3
    assert client.post("/password/forgotten/", {"email": "sam@example.org"}).status_code == 429
    # What the client itself writes into X-Forwarded-For counts for nothing.
    forged = {"HTTP_X_FORWARDED_FOR": "1.2.3.4"}
    assert client.post("/register/", {"email": "m@example.org"}, **forged).status_code == 429
    settings(PROXIES=1)
    assert client.post("/register/", {"email": "m@example.org"}, **forged).status_code == 302


def test_reset_a_password(school):
    school.sam.set_password(PASSWORD)
    school.sam.save()
    client = school.client(None)
    client.post("/password/forgotten/", {"email": "sam@example.org"})
    page = client.get(link_in(mail.outbox[-1].body), follow=True)
    done = client.post(
        page.request["PATH_INFO"],
        {"new_password1": "five old boats 5", "new_password2": "five old boats 5"},
    )
    assert done.url == reverse("password_reset_complete")
    school.sam.refresh_from_db()
    assert school.sam.check_password("five old boats 5")


def test_cookies_and_headers(school, settings):
    school.sam.set_password(PASSWORD)
    school.sam.save()
    client = school.client(None)
    client.get("/login/")
    page = log_in(school, "sam@example.org", PASSWORD, client)
    for name in ("sessionid", "csrftoken"):
        cookie = client.cookies[name]
        assert cookie["httponly"] and cookie["samesite"] == "Lax", name
    policy = page["Content-Security-Policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    assert page["X-Frame-Options"] == "DENY" and page["X-Content-Type-Options"] == "nosniff"
    lesson = client.get(school.lesson.get_absolute_url())
    assert "'wasm-unsafe-eval'" in lesson["Content-Security-Policy"]
    assert "unsafe-inline" not in lesson["Content-Security-Policy"]
    assert lesson["Permissions-Policy"].startswith("camera=(self)")
    assert page["Permissions-Policy"].startswith("camera=()")


@pytest.mark.parametrize("who", ["sam", "tutor", "admin"])
def test_no_page_has_inline_code(school, who):
    """The policy would stop it; a page that relies on it would be broken."""
    client = school.client(getattr(school, who))
    pages = ["/", school.lesson.get_absolute_url(), "/account/"]
    pages += ["/admin/people/user/add/"] if who == "admin" else []
    for path in pages:
        html = client.get(path).content.decode()
        assert not re.search(r"\sstyle=|\son\w+=|<style", html), path
        for attributes in re.findall(r"<script([^>]*)>", html):
            assert "src=" in attributes or 'type="application/json"' in attributes, path


def test_forgery_is_refused(school):
    client = school.client(school.sam, enforce_csrf_checks=True)
    for path in ("/account/consent/", f"/lessons/{school.lesson.pk}/visits/", "/history/delete/"):
        assert client.post(path).status_code == 403, path
    assert not Consent.objects.exists()


def test_consents_are_recorded_and_revocable(school):
    client = school.client(school.sam)
    client.post("/account/consent/", {"give": ["camera", "tutor", "nonsense"]})
    client.post("/account/consent/", {"give": "camera"})  # once more changes nothing
    assert sorted(c.kind for c in Consent.objects.filter(revoked_at=None)) == ["camera", "tutor"]
    client.post("/account/consent/", {"revoke": "camera"})
    old = Consent.objects.get(kind="camera")
    assert old.revoked_at > old.given_at
    client.post("/account/consent/", {"give": "camera"})
    assert Consent.objects.filter(kind="camera").count() == 2


def test_after_a_consent_nobody_is_sent_elsewhere(school):
    client = school.client(school.sam)
    assert client.post("/account/consent/", {"next": "https://evil.example/"}).url == "/account/"
    assert client.post("/account/consent/", {"next": "/history/"}).url == "/history/"


def test_roles_decide_who_administers(school):
    school.sam.role = User.Role.ADMINISTRATOR
    school.sam.save(update_fields=["role"])
    school.sam.refresh_from_db()
    assert school.sam.is_staff and school.sam.is_superuser
    school.sam.role = User.Role.TUTOR
    school.sam.save()
    assert not school.sam.is_staff and not school.sam.is_superuser


def test_administrators_make_people_and_cannot_rewrite_the_audit_trail(school):
    client = school.client(school.admin)
    fields = {"email": "T2@example.org", "name": "T", "role": "tutor", "usable_password": "true"}
    made = client.post("/admin/people/user/add/", {**fields, **both(PASSWORD)})
    assert made.status_code == 302
    assert User.objects.get(email__iexact="t2@example.org").role == "tutor"
    entry = AuditEntry.objects.create(actor_email="a@b.c", student_email="d@e.f", action="viewed")
    assert client.get(f"/admin/people/auditentry/{entry.pk}/change/").status_code == 200
    for action in ("change", "delete"):
        path = f"/admin/people/auditentry/{entry.pk}/{action}/"
        assert client.post(path, {"post": "yes"}).status_code == 403
    found = client.get("/admin/people/user/?q=sue&role__exact=student").content.decode()
    assert "sue@example.org" in found and "sam@example.org" not in found


def test_check_deploy_is_clean(tmp_path):
    """With the settings that README.md documents for https."""
    environment = {
        **os.environ,
        "LEARNING_PLATFORM_DATA": str(tmp_path),
        "LEARNING_PLATFORM_HTTPS": "1",
        "LEARNING_PLATFORM_HOSTS": "courses.example.org",
    }
    command = [sys.executable, "learning_platform/manage.py", "check", "--deploy"]
    done = subprocess.run(
        [*command, "--fail-level=WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_models_and_migrations_agree(school: School):
    from django.core.management import call_command

    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
