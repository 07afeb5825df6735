"""People and courses for the tests."""

import io
import json

from django.core.files.base import ContentFile
from django.test import Client
from PIL import Image

from learning_platform.courses.models import Course, Enrolment, Lesson, LessonFile, Module
from learning_platform.people.consent import give
from learning_platform.people.models import User
from tests.learning_platform.model_folder import probabilities

PASSWORD = "nine blue pears 9"  # noqa: S105


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


class School:
    """`course` (tutor, sam, sue) and `other` (other_tutor, sid)."""

    def __init__(self):
        roles = User.Role
        self.admin = self.person("admin", roles.ADMINISTRATOR)
        self.tutor = self.person("tutor", roles.TUTOR)
        self.other_tutor = self.person("other_tutor", roles.TUTOR)
        self.sam, self.sue, self.sid = (
            self.person(n, roles.STUDENT) for n in ("sam", "sue", "sid")
        )
        self.course, self.module, self.lesson, self.file = self.make("Seeing", self.tutor)
        self.other, self.other_module, self.other_lesson, _ = self.make("Else", self.other_tutor)
        for student, course in [
            (self.sam, self.course),
            (self.sue, self.course),
            (self.sid, self.other),
        ]:
            Enrolment.objects.create(course=course, student=student)

    def person(self, name: str, role: str) -> User:
        # Unusable here, as argon2 is slow on purpose; tests of log-ins set PASSWORD.
        return User.objects.create_user(f"{name}@example.org", None, name=name.title(), role=role)

    def make(self, title: str, tutor: User):
        course = Course.objects.create(title=title)
        course.tutors.add(tutor)
        module = Module.objects.create(course=course, title=f"{title} 1")
        lesson = Lesson.objects.create(module=module, title=f"{title} 1.1", text="Some **text**.")
        file = LessonFile(lesson=lesson, content_type="image/png", caption="A red square")
        file.suffix = ".png"
        file.file.save("red.png", ContentFile(png()))
        return course, module, lesson, file

    def client(self, user: User | None, **options) -> Client:
        client = Client(**options)
        if user:
            client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    def visit(self, student: User, lesson: Lesson) -> tuple[Client, int]:
        """A student with consent who opened the lesson with the camera on."""
        give(student, "camera")
        client = self.client(student)
        response = client.post(f"/lessons/{lesson.pk}/visits/")
        assert response.status_code == 201
        client.defaults["HTTP_X_VISIT_TOKEN"] = response.json()["token"]
        return client, response.json()["visit"]


def post_reading(client: Client, visit: int, sequence: int, label: str | None, p: float = 0.7):
    given = {"sequence": sequence, "probabilities": label and probabilities(label, p)}
    return client.post(
        f"/visits/{visit}/readings/", json.dumps(given), content_type="application/json"
    )
