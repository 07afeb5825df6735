"""A student's own history: look, download, delete."""

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from learning_platform import expression_model
from learning_platform.emotions import charts, summary, visits
from learning_platform.emotions.export import as_csv
from learning_platform.emotions.models import EmotionRecord
from learning_platform.people.models import User

SHOWN = 200


def labels_of(records: list[EmotionRecord]) -> list[str]:
    """The model's emotions, then those that only a former model knew."""
    classes = expression_model.load(settings.EXPRESSION_MODEL).classes
    return list(dict.fromkeys([*classes, *(label for r in records for label in r.probabilities)]))


def _own_records(user: User) -> list[EmotionRecord]:
    if not user.is_student:
        raise Http404
    rows = user.emotion_records.select_related("student", "module__course", "lesson", "visit")
    return list(rows.order_by("time", "id"))


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    records = _own_records(request.user)
    labels = labels_of(records)
    page = {
        "records": records[::-1][:SHOWN],
        "count": len(records),
        "timeline": charts.timeline(records, labels),
        "bars": charts.bars(summary.shares(records, labels, None)),
        "events": request.user.support_events.select_related("lesson")[:SHOWN],
        "looked_at": request.user.looked_at.all()[:SHOWN],
        "days": settings.RETENTION_DAYS,
    }
    return render(request, "emotions/history.html", page)


@require_safe
def download(request: HttpRequest) -> HttpResponse:
    records = _own_records(request.user)
    return as_csv(records, labels_of(records), "emotions.csv", person=False)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    """Asks first; a POST deletes all of it."""
    if not request.user.is_student:
        raise Http404
    if request.method == "POST":
        visits.delete_all(request.user)
        messages.success(request, _("Everything about your emotions is deleted."))
        return redirect("history")
    return render(request, "emotions/delete.html")
