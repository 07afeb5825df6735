"""Messages of support: when one is due, and which."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from learning_platform.courses.models import Course
from learning_platform.emotions.models import SupportEvent, SupportMessage, Visit
from learning_platform.people.consent import has_consent
from learning_platform.people.models import Consent

DEFAULTS = [
    _("This part is hard for many. A short break often helps."),
    _("You do not have to get it at once. Read the last paragraph again, slowly."),
    _("Write down the question that you have now: your tutor will be glad of it."),
    _("You have come this far. One small step at a time."),
]


@receiver(post_save, sender=Course)
def add_default_messages(instance: Course, created: bool, raw: bool, **kwargs) -> None:
    """Gives a new course messages to start from, in the language of whoever makes it.

    Not one that is restored from a backup (`raw`), which has its own.
    """
    if created and not raw:
        SupportMessage.objects.bulk_create(
            SupportMessage(course=instance, text=gettext(text)) for text in DEFAULTS
        )


def is_due(visit: Visit, course: Course) -> bool:
    """Whether the last readings showed one of the watched emotions for long enough."""
    return visit.streak_label in course.watched and visit.streak >= course.readings_in_row


def choose(
    messages: Sequence[SupportMessage], emotion: str, last_text: str, pick=random.choice
) -> SupportMessage | None:
    """A message for `emotion`, never the one shown last; None where no other is left."""
    fitting = [m for m in messages if m.emotion in ("", emotion) and m.text != last_text]
    return pick(fitting) if fitting else None


def support(visit: Visit, now: datetime) -> str:
    """The message to show now, recorded as shown; '' for none.

    Args:
      visit: with its `student` and `lesson.module.course`, its streak up to date.
      now: the server's time.
    """
    course = visit.lesson.module.course
    if not is_due(visit, course):
        return ""
    last = SupportEvent.objects.filter(student_id=visit.student_id).first()
    if last and now - last.time < timedelta(seconds=course.pause_seconds):
        return ""
    messages = list(course.support_messages.filter(active=True))
    message = choose(messages, visit.streak_label, last.text if last else "")
    if message is None:
        return ""
    SupportEvent.objects.create(
        student_id=visit.student_id,
        lesson=visit.lesson,
        message=message,
        text=message.text,
        emotion=visit.streak_label,
        time=now,
        for_tutor=has_consent(visit.student, Consent.Kind.TUTOR),
    )
    return message.text
