"""A course to look at: made once, in an empty database."""

import io
import secrets

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _
from PIL import Image, ImageDraw

from learning_platform.courses.models import Course, Enrolment, Lesson, LessonFile, Module
from learning_platform.people.models import User

PEOPLE = [
    ("admin@example.org", "Ada Administrator", User.Role.ADMINISTRATOR),
    ("tutor@example.org", "Tom Tutor", User.Role.TUTOR),
    ("sam@example.org", "Sam Student", User.Role.STUDENT),
    ("sue@example.org", "Sue Student", User.Role.STUDENT),
    ("sid@example.org", "Sid Student", User.Role.STUDENT),
]


@transaction.atomic
def fill(language: str = "en") -> list[tuple[str, str, str]]:
    """Makes the demo unless there are people already.

    Returns:
      (role, e-mail, password) of each new person: the only time that the passwords can be read.
    """
    if User.objects.exists():
        return []
    with translation.override(language):
        passwords, people = [], {}
        for email, name, role in PEOPLE:
            password = secrets.token_urlsafe(12)
            people[email] = User.objects.create_user(email, password, name=name, role=role)
            passwords.append((str(role.label), email, password))
        _course(people)
    return passwords


def _course(people: dict[str, User]) -> None:
    course = Course.objects.create(
        title=_("How a network reads a face"),
        summary=_("From a picture to an emotion, and what can go wrong on the way."),
        open_to_all=True,
    )
    course.tutors.add(people["tutor@example.org"])
    for person in people.values():
        if person.is_student:
            Enrolment.objects.create(course=course, student=person)
    seeing = Module.objects.create(course=course, title=_("Seeing"), position=1)
    judging = Module.objects.create(course=course, title=_("Judging"), position=2)
    first = Lesson.objects.create(
        module=seeing,
        position=1,
        title=_("Pixels and convolutions"),
        text=_(
            "A picture is a table of numbers. A **convolution** slides a small window over it:\n\n"
            "1. multiply what lies under the window by its weights,\n"
            "2. add it all up,\n"
            "3. move on by one place.\n\n"
            "Many such windows, one layer over another, find edges, then eyes, then faces."
        ),
    )
    picture = LessonFile(
        lesson=first, content_type="image/png", caption=_("A window of 3 x 3 on a small picture")
    )
    picture.suffix = ".png"
    picture.file.save("window.png", ContentFile(_drawing()))
    Lesson.objects.create(
        module=seeing,
        position=2,
        title=_("Finding the face"),
        text=_(
            "Before an expression can be read, the face must be found. The detector of this very "
            "page looks at 896 places at once and keeps the surest.\n\n"
            "> Cover half of your face: from when on is it lost?"
        ),
    )
    Lesson.objects.create(
        module=judging,
        position=1,
        title=_("What an expression does not say"),
        text=_(
            "A smile may be polite, a frown may be thought. Of the pictures that this network "
            "learned from, people name about **two of three** as their labels do.\n\n"
            "- A probability is not a feeling.\n"
            "- A mean hides what changed.\n"
            "- Who is asked to smile, smiles."
        ),
    )


def _drawing() -> bytes:
    """A PNG: a grid of gray cells with a window on it."""
    side, cell = 12, 40
    picture = Image.new("RGB", (side * cell, 6 * cell), "white")
    draw = ImageDraw.Draw(picture)
    for y in range(6):
        for x in range(side):
            gray = 60 + (x * 37 + y * 53 + x * y * 11) % 180
            draw.rectangle(
                (x * cell, y * cell, x * cell + cell - 2, y * cell + cell - 2), fill=(gray,) * 3
            )
    draw.rectangle((4 * cell - 2, cell - 2, 7 * cell, 4 * cell), outline=(29, 95, 168), width=5)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
