"""Courses, their modules and lessons, the files of a lesson, and who takes part."""

import secrets

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from learning_platform.people.models import User


class CourseQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> "CourseQuerySet":
        """The courses that a person may read: own ones; of administrators, all."""
        if user.role == User.Role.ADMINISTRATOR:
            return self
        if user.is_tutor:
            return self.filter(tutors=user)
        return self.filter(published=True, students=user)

    def writable_by(self, user: User) -> "CourseQuerySet":
        """The courses whose lessons, messages and records a person handles: a tutor's own."""
        return self.filter(tutors=user) if user.is_tutor else self.none()

    def joinable_by(self, user: User) -> "CourseQuerySet":
        if not user.is_student:
            return self.none()
        return self.filter(published=True, open_to_all=True).exclude(students=user)


def default_watched() -> list[str]:
    return ["sad", "angry", "fear"]


class Course(models.Model):
    title = models.CharField(_("title"), max_length=200)
    summary = models.TextField(_("summary"), blank=True)
    published = models.BooleanField(_("published"), default=True)
    open_to_all = models.BooleanField(
        _("open to all"), default=False, help_text=_("Any student may join.")
    )
    tutors = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="courses_taught",
        blank=True,
        limit_choices_to={"role": "tutor"},
        verbose_name=_("tutors"),
    )
    students = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="courses_taken",
        blank=True,
        through="Enrolment",
        verbose_name=_("students"),
    )
    # When a message of support appears.
    watched = models.JSONField(_("emotions to watch for"), default=default_watched)
    readings_in_row = models.PositiveSmallIntegerField(
        _("readings in a row"),
        default=10,
        validators=[MinValueValidator(3), MaxValueValidator(600)],
        help_text=_("One reading a second."),
    )
    pause_seconds = models.PositiveSmallIntegerField(
        _("seconds between messages"),
        default=10,
        validators=[MinValueValidator(5), MaxValueValidator(3600)],
    )

    objects = CourseQuerySet.as_manager()

    class Meta:
        verbose_name = _("course")
        verbose_name_plural = _("courses")
        ordering = ["title", "id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("course", args=[self.pk])


class Enrolment(models.Model):
    course = models.ForeignKey(Course, models.CASCADE, verbose_name=_("course"))
    student = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        limit_choices_to={"role": "student"},
        verbose_name=_("student"),
    )
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("enrolment")
        verbose_name_plural = _("enrolments")
        constraints = [models.UniqueConstraint(fields=["course", "student"], name="enrolled_once")]

    def __str__(self) -> str:
        return f"{self.student}: {self.course}"


class Module(models.Model):
    course = models.ForeignKey(Course, models.CASCADE, related_name="modules")
    title = models.CharField(_("title"), max_length=200)
    position = models.PositiveSmallIntegerField(_("position"), default=1)

    class Meta:
        verbose_name = _("module")
        verbose_name_plural = _("modules")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return self.title


class Lesson(models.Model):
    module = models.ForeignKey(
        Module, models.CASCADE, related_name="lessons", verbose_name=_("module")
    )
    title = models.CharField(_("title"), max_length=200)
    text = models.TextField(_("text"), blank=True, help_text=_("Markdown."))
    video_link = models.URLField(_("link to a video"), blank=True, max_length=500)
    position = models.PositiveSmallIntegerField(_("position"), default=1)

    class Meta:
        verbose_name = _("lesson")
        verbose_name_plural = _("lessons")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("lesson", args=[self.pk])


def random_name(instance: "LessonFile", filename: str) -> str:
    """A name that tells nothing and cannot be guessed; the suffix follows from the content."""
    return f"{instance.lesson_id}/{secrets.token_hex(16)}{instance.suffix}"


class LessonFile(models.Model):
    """A picture or a video of a lesson."""

    lesson = models.ForeignKey(Lesson, models.CASCADE, related_name="files")
    file = models.FileField(_("file"), upload_to=random_name)
    content_type = models.CharField(max_length=20)
    caption = models.CharField(
        _("caption"),
        max_length=200,
        help_text=_("What can be seen; it is read to those who cannot see it."),
    )

    suffix = ""  # set by whoever checked the content, before the first save

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.caption

    @property
    def is_video(self) -> bool:
        return self.content_type.startswith("video/")

    def get_absolute_url(self) -> str:
        return reverse("lesson_file", args=[self.pk])


class Progress(models.Model):
    """A lesson that a student marked as done."""

    student = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="progress")
    lesson = models.ForeignKey(Lesson, models.CASCADE, related_name="progress")
    done_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["student", "lesson"], name="done_once")]
