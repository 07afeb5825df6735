"""Lessons, their files and their progress."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from learning_platform.courses.markdown import to_html
from learning_platform.courses.models import Lesson, LessonFile
from tests.learning_platform.school import png

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(range(200))


def upload(school, name: str, data: bytes, caption: str = "What is seen"):
    file = SimpleUploadedFile(name, data)
    path = f"/tutor/lessons/{school.lesson.pk}/files/"
    return school.client(school.tutor).post(path, {"file": file, "caption": caption})


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<a href='x' style='position:fixed' onclick='alert(1)'>x</a>",
        "<iframe src='https://evil.example'></iframe>",
        "![x](javascript:alert(1))",
    ],
)
def test_markdown_is_harmless(text):
    """What is dangerous is shown as text, or gone."""
    html = to_html(text)
    assert not any(tag in html for tag in ("<script", "<iframe", "<a href='x'", "<img src=x"))
    assert 'href="javascript' not in html and 'src="javascript' not in html
    assert 'href="data' not in html


def test_markdown_is_rendered():
    html = to_html("# One\n\nSome **bold** text, ![a cat](/files/1/)\n\n| a |\n|---|\n| b |")
    for piece in ("<h2>One</h2>", "<strong>bold</strong>", 'alt="a cat"', "<td>b</td>"):
        assert piece in html


def test_a_lesson_shows_text_pictures_order_and_progress(school):
    second = Lesson.objects.create(module=school.module, title="Seeing 1.2", position=2)
    client = school.client(school.sam)
    page = client.get(school.lesson.get_absolute_url()).content.decode()
    assert "Some <strong>text</strong>." in page and 'alt="A red square"' in page
    assert second.get_absolute_url() in page
    client.post(f"/lessons/{school.lesson.pk}/done/")
    assert "1 of 2 lessons done" in client.get("/").content.decode()
    assert "1 of 2 lessons done" in client.get(school.course.get_absolute_url()).content.decode()
    client.post(f"/lessons/{school.lesson.pk}/done/", {"done": "no"})
    assert "0 of 2 lessons done" in client.get("/").content.decode()


def test_join_an_open_course(school):
    client = school.client(school.sid)
    assert client.post(f"/courses/{school.course.pk}/join/").status_code == 404
    school.course.open_to_all = True
    school.course.save()
    client.post(f"/courses/{school.course.pk}/join/")
    assert client.get(school.lesson.get_absolute_url()).status_code == 200


def test_an_unpublished_course_is_hidden_from_students(school):
    school.course.published = False
    school.course.save()
    assert school.client(school.sam).get(school.lesson.get_absolute_url()).status_code == 404
    assert school.client(school.tutor).get(school.lesson.get_absolute_url()).status_code == 200


def test_tutors_write_lessons(school):
    client = school.client(school.tutor)
    fields = {"title": "New one", "position": 2, "text": "*Look*", "video_link": "example.org/v"}
    client.post(f"/tutor/modules/{school.module.pk}/lessons/new/", fields)
    lesson = Lesson.objects.get(title="New one")
    assert lesson.module == school.module and lesson.video_link == "https://example.org/v"
    client.post(f"/tutor/lessons/{lesson.pk}/", {**fields, "title": "Better"})
    lesson.refresh_from_db()
    assert lesson.title == "Better"
    client.post(f"/tutor/lessons/{lesson.pk}/delete/")
    assert not Lesson.objects.filter(pk=lesson.pk).exists()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [("a.exe", png(), "image/png"), ("a.png", MP4, "video/mp4")],
    ids=["picture", "video"],
)
def test_the_content_tells_what_an_upload_is(school, name, data, kind):
    assert upload(school, name, data).status_code == 302
    file = LessonFile.objects.latest("pk")
    assert file.content_type == kind and not file.file.name.endswith(name[1:])
    sent = school.client(school.sam).get(file.get_absolute_url())
    assert sent["Content-Type"] == kind and sent["X-Content-Type-Options"] == "nosniff"
    assert b"".join(sent.streaming_content) == data


def test_other_uploads_are_refused(school, settings):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "GIF")
    for data in (svg, b"<html>", gif.getvalue(), png()[:30], b"MZ" + bytes(100)):
        assert upload(school, "a.png", data).status_code == 400
    settings(PICTURE_BYTES=50, VIDEO_BYTES=100)
    for data in (png(), MP4):
        answer = upload(school, "a.png", data)
        assert answer.status_code == 400 and "too large" in answer.content.decode()
    assert LessonFile.objects.filter(lesson=school.lesson).count() == 1


def test_a_deleted_file_is_off_the_disk(school):
    upload(school, "a.png", png())
    file = LessonFile.objects.latest("pk")
    path = file.file.path
    school.client(school.tutor).post(f"/tutor/files/{file.pk}/delete/")
    with pytest.raises(FileNotFoundError):
        open(path)  # noqa: SIM115
    kept = school.file.file.path
    school.lesson.delete()
    with pytest.raises(FileNotFoundError):
        open(kept)  # noqa: SIM115


def test_a_player_gets_the_part_it_asks_for(school):
    upload(school, "a.mp4", MP4)
    file = LessonFile.objects.latest("pk")
    client = school.client(school.sam)
    part = client.get(file.get_absolute_url(), HTTP_RANGE="bytes=10-19")
    assert (part.status_code, part["Content-Range"]) == (206, f"bytes 10-19/{len(MP4)}")
    assert b"".join(part.streaming_content) == MP4[10:20]
    rest = client.get(file.get_absolute_url(), HTTP_RANGE="bytes=200-")
    assert b"".join(rest.streaming_content) == MP4[200:]
    beyond = client.get(file.get_absolute_url(), HTTP_RANGE="bytes=999-")
    assert beyond.status_code == 416
