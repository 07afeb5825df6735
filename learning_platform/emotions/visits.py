"""From readings, one a second, to records, one about every 20 seconds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.core import signing
from django.db import connection, transaction
from django.dispatch import receiver
from django.utils import timezone

from learning_platform.emotions.models import EmotionRecord, Visit
from learning_platform.emotions.support import is_due, support
from learning_platform.people.consent import revoked
from learning_platform.people.models import Consent, User

SALT = "learning_platform.visit"
TOKEN_LASTS = timedelta(hours=12)
STATE = [
    "last_sequence",
    "readings",
    "window_from",
    "window_seen",
    "window_absent",
    "sums",
    "streak_label",
    "streak",
]


class Reading(NamedTuple):
    """What a student's browser sends once a second.

    visit, student: ids; student is who the visit's token was given to.
    sequence: 1, 2, ... in this visit.
    probabilities: {label: probability}, or None without a face in view.
    """

    visit: int
    student: int
    sequence: int
    probabilities: dict[str, float] | None


class Answer(NamedTuple):
    """accepted: False where the visit is not this student's, or over. message: to show, or ''."""

    accepted: bool
    message: str = ""


def apply(readings: Sequence[Reading], now: datetime) -> list[Answer]:
    """Stores readings in one transaction: all of them are on disk when this returns.

    Args:
      readings: in the order in which they came; several may belong to one visit.
      now: the server's time.
    """
    with transaction.atomic():
        visits = _visits({reading.visit for reading in readings})
        answers, records = [], []
        for reading in readings:
            visit = visits.get(reading.visit)
            if visit is None or visit.ended_at or visit.student_id != reading.student:
                answers.append(Answer(False))
            elif reading.sequence <= visit.last_sequence:
                answers.append(Answer(True))  # sent again because its answer was lost
            else:
                add(visit, reading, now)
                if now - visit.window_from >= timedelta(seconds=settings.RECORD_SECONDS):
                    records.append(condense(visit, now))
                due = is_due(visit, visit.lesson.module.course)
                answers.append(Answer(True, support(visit, now) if due else ""))
        _save(visits.values())
        EmotionRecord.objects.bulk_create(records)
    return answers


def _visits(ids: set[int]) -> dict[int, Visit]:
    """The visits by id, with all that is asked of them, locked until the transaction ends."""
    rows = Visit.objects.filter(student__is_active=True)
    rows = rows.select_related("student", "lesson__module__course")
    if connection.features.has_select_for_update_of:
        # In the order of ids, so that two writers cannot wait for each other.
        rows = rows.select_for_update(of=("self",)).order_by("id")
    return rows.in_bulk(ids)


def _save(visits) -> None:
    """One statement, prepared once; Django's bulk_update takes 20 times as long."""
    columns = ", ".join(f"{field} = %s" for field in STATE)
    fields = [Visit._meta.get_field(field) for field in STATE]
    rows = [
        [
            *(f.get_db_prep_save(getattr(visit, f.attname), connection) for f in fields),
            visit.pk,
        ]
        for visit in visits
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {Visit._meta.db_table} SET {columns} WHERE id = %s", rows)


def add(visit: Visit, reading: Reading, now: datetime) -> None:
    """Adds a reading to its visit, in memory."""
    visit.last_sequence = reading.sequence
    visit.readings += 1
    visit.window_from = visit.window_from or now
    if reading.probabilities is None:
        visit.window_absent += 1
        visit.streak_label, visit.streak = "", 0
        return
    visit.window_seen += 1
    for label, probability in reading.probabilities.items():
        visit.sums[label] = round(visit.sums.get(label, 0.0) + probability, 6)
    label = max(reading.probabilities, key=reading.probabilities.get)
    visit.streak = visit.streak + 1 if label == visit.streak_label else 1
    visit.streak_label = label


def condense(visit: Visit, now: datetime) -> EmotionRecord:
    """The record of what was read since the last one, not yet saved; the visit starts anew."""
    mean = {label: round(total / visit.window_seen, 4) for label, total in visit.sums.items()}
    record = EmotionRecord(
        student_id=visit.student_id,
        module_id=visit.lesson.module_id,
        lesson_id=visit.lesson_id,
        visit_id=visit.pk,
        time=now,
        seconds=round((now - visit.window_from).total_seconds(), 1),
        seen=visit.window_seen,
        absent=visit.window_absent,
        label=max(mean, key=mean.get) if mean else "",
        probabilities=mean,
    )
    visit.window_from, visit.window_seen, visit.window_absent, visit.sums = None, 0, 0, {}
    return record


def end(visit: Visit, now: datetime) -> None:
    """Closes a visit; what was read since the last record becomes one."""
    with transaction.atomic():
        current = _visits({visit.pk}).get(visit.pk)
        if current and current.window_from:
            condense(current, now).save()
            _save([current])
        Visit.objects.filter(pk=visit.pk, ended_at=None).update(ended_at=now)


def token(visit: Visit) -> str:
    """Allows to add readings to this visit, as long as it lasts.

    A reading a second and student: to look up session and person each time would cost three times
    as much as all the rest.
    """
    return signing.dumps([visit.pk, visit.student_id], salt=SALT)


def student_of(given: str, visit: int) -> int:
    """The student to whom a visit's token was given.

    Raises:
      BadSignature: not a token, or of another visit, or older than TOKEN_LASTS.
    """
    pk, student = signing.loads(given, salt=SALT, max_age=TOKEN_LASTS)
    if pk != visit:
        raise signing.BadSignature("of another visit")
    return student


@receiver(user_logged_out)
def end_at_log_out(user: User | None, **kwargs) -> None:
    if user is not None:
        end_all(user, timezone.now())


@receiver(revoked)
def end_when_revoked(student: User, kind: str, now: datetime, **kwargs) -> None:
    if kind == Consent.Kind.CAMERA:
        end_all(student, now)


def end_all(student: User, now: datetime) -> None:
    for visit in Visit.objects.filter(student=student, ended_at=None):
        end(visit, now)


def delete_all(student: User) -> None:
    """Deletes all that is kept about a student's emotions, down to the bytes.

    SQLite overwrites deleted rows (secure_delete); its write-ahead log, which may hold older copies
    of these pages, is written back and cut to nothing.
    """
    with transaction.atomic():
        student.emotion_records.all().delete()
        student.support_events.all().delete()
        student.visits.all().delete()
        transaction.on_commit(truncate_log)


def truncate_log() -> None:
    """Empties SQLite's write-ahead log; nothing to do in other databases."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
