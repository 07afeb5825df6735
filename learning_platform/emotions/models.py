"""What is kept about a student's emotions, and the messages of support."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from learning_platform.courses.models import Course, Lesson, Module


class Visit(models.Model):
    """A student reads a lesson with the camera on: the readings since the last EmotionRecord.

    A reading comes every second and is added to `sums`; it is kept no longer than until the next
    record, and nothing else of it is.
    """

    student = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="visits")
    lesson = models.ForeignKey(Lesson, models.CASCADE, related_name="visits")
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    # The browser numbers its readings 1, 2, ...; one sent twice counts once.
    last_sequence = models.PositiveIntegerField(default=0)
    readings = models.PositiveIntegerField(default=0)
    # Since the last record:
    window_from = models.DateTimeField(null=True)
    window_seen = models.PositiveIntegerField(default=0)
    window_absent = models.PositiveIntegerField(default=0)
    sums = models.JSONField(default=dict)
    # The same emotion in this many readings in a row:
    streak_label = models.CharField(max_length=40, blank=True)
    streak = models.PositiveIntegerField(default=0)


class EmotionRecord(models.Model):
    """About 20 seconds of a student in a module, condensed."""

    student = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="emotion_records"
    )
    module = models.ForeignKey(Module, models.CASCADE, related_name="emotion_records")
    lesson = models.ForeignKey(Lesson, models.SET_NULL, null=True, related_name="emotion_records")
    visit = models.ForeignKey(Visit, models.SET_NULL, null=True, related_name="records")
    time = models.DateTimeField(default=timezone.now, db_index=True)  # its end
    seconds = models.FloatField()
    seen = models.PositiveIntegerField()  # readings with a face
    absent = models.PositiveIntegerField()  # readings without one, or with the page out of sight
    label = models.CharField(max_length=40, blank=True)  # '' where no reading had a face
    probabilities = models.JSONField(default=dict)  # mean of the readings with a face

    class Meta:
        ordering = ["time", "id"]
        indexes = [models.Index(fields=["student", "module", "time"])]

    @property
    def attention_lost(self) -> bool:
        return self.absent > self.seen

    @property
    def probability(self) -> float | None:
        return self.probabilities.get(self.label)


class SupportMessage(models.Model):
    """A sentence that a tutor wrote for a student who seems to struggle."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="support_messages")
    text = models.CharField(_("text"), max_length=300)
    emotion = models.CharField(
        _("emotion"), max_length=40, blank=True, help_text=_("Empty: for each of them.")
    )
    active = models.BooleanField(_("in use"), default=True)

    class Meta:
        verbose_name = _("message of support")
        verbose_name_plural = _("messages of support")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text


class SupportEvent(models.Model):
    """A message that was shown. Tutors see it only where the student had agreed to that."""

    student = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="support_events"
    )
    lesson = models.ForeignKey(Lesson, models.CASCADE, related_name="support_events")
    message = models.ForeignKey(SupportMessage, models.SET_NULL, null=True, related_name="+")
    text = models.CharField(max_length=300)
    emotion = models.CharField(max_length=40)
    time = models.DateTimeField(default=timezone.now, db_index=True)
    for_tutor = models.BooleanField(default=False)

    class Meta:
        ordering = ["-time", "-id"]
        indexes = [models.Index(fields=["student", "-time"])]
