"""Records as csv."""

import csv
from collections.abc import Iterable, Sequence

from django.http import HttpResponse

from learning_platform.emotions.models import EmotionRecord


def plain(text: str) -> str:
    """A text that spreadsheets do not take for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_csv(
    records: Iterable[EmotionRecord], labels: Sequence[str], filename: str, person: bool
) -> HttpResponse:
    """A response with a row a record; `person` adds who it is."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Cache-Control"] = "no-store"
    rows = csv.writer(response)
    head = ["time", "course", "module", "lesson", "seconds", "readings", "absent", "label", *labels]
    rows.writerow(["name", "e-mail", *head] if person else head)
    for record in records:
        row = [
            record.time.isoformat(timespec="seconds"),
            plain(record.module.course.title),
            plain(record.module.title),
            plain(record.lesson.title) if record.lesson else "",
            record.seconds,
            record.seen,
            record.absent,
            record.label,
            *(record.probabilities.get(label, "") for label in labels),
        ]
        who = [plain(record.student.name), plain(record.student.email)] if person else []
        rows.writerow([*who, *row])
    return response
