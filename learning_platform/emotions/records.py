"""What tutors see of their students' emotions. Every look is written to the audit trail."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from learning_platform.courses.models import Module
from learning_platform.courses.tutor import own, own_course
from learning_platform.emotions import charts, summary
from learning_platform.emotions.export import as_csv
from learning_platform.emotions.history import labels_of
from learning_platform.emotions.labels import name
from learning_platform.emotions.models import EmotionRecord, SupportEvent
from learning_platform.people.consent import audit
from learning_platform.people.models import AuditEntry, User

NOTES_SHOWN = 200


def _records(request: HttpRequest, pk: int, student: int, action: str):
    """The module of an own course, a student of that course, and the records of both together.

    Raises:
      Http404: not an own course, or not a student of it.
    """
    module = get_object_or_404(own(request.user, Module, "course").select_related("course"), pk=pk)
    person = get_object_or_404(User, pk=student, courses_taken=module.course)
    rows = EmotionRecord.objects.filter(module=module, student=person)
    rows = rows.select_related("student", "module__course", "lesson", "visit")
    audit(request.user, person, action, f"{module.course.title}: {module.title}")
    return module, person, list(rows.order_by("time", "id"))


@require_safe
def student(request: HttpRequest, pk: int, student: int) -> HttpResponse:
    module, person, records = _records(request, pk, student, AuditEntry.Action.VIEWED)
    labels = labels_of(records)
    group = summary.group_means(module)
    parts = summary.shares(records, labels, group)
    frequent = summary.most_frequent(parts)
    page = {
        "course": module.course,
        "module": module,
        "student": person,
        "records": records[::-1],
        "minutes": sum(record.seconds for record in records) / 60,
        "timeline": charts.timeline(records, labels),
        "bars": charts.bars(parts),
        "frequent": name(frequent) if frequent else "",
        "lost": summary.attention_lost(records),
        "group": group is not None,
    }
    return render(request, "tutor/student.html", page)


@require_safe
def student_csv(request: HttpRequest, pk: int, student: int) -> HttpResponse:
    module, person, records = _records(request, pk, student, AuditEntry.Action.EXPORTED)
    return as_csv(records, labels_of(records), f"emotions-{module.pk}-{person.pk}.csv", person=True)


@require_safe
def notes(request: HttpRequest, pk: int) -> HttpResponse:
    """Messages of support that were shown to students who agreed that tutors are told."""
    course = own_course(request, pk)
    events = SupportEvent.objects.filter(
        lesson__module__course=course, for_tutor=True, student__courses_taken=course
    ).select_related("student", "lesson")[:NOTES_SHOWN]
    for person in {event.student for event in events}:
        audit(request.user, person, AuditEntry.Action.VIEWED, f"{course.title}: notes")
    listed = [(event, name(event.emotion)) for event in events]
    return render(request, "tutor/notes.html", {"course": course, "listed": listed})
