"""What the panel of a lesson talks to. Every answer is JSON, but the model's file."""

import json
import logging
import math

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from learning_platform import expression_model, face_on_server
from learning_platform.courses.views import lesson_for
from learning_platform.emotions import visits, writer
from learning_platform.emotions.models import Visit
from learning_platform.people.consent import has_consent
from learning_platform.people.models import Consent

READING_BYTES = 4096
log = logging.getLogger(__name__)


def _error(text: str, status: int) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)


@require_safe
def model_file(request: HttpRequest, version: str) -> HttpResponse:
    """The expression network, for the browser; its address changes with its content."""
    model = expression_model.load(settings.EXPRESSION_MODEL)
    if version != model.version:
        raise Http404
    response = FileResponse(open(model.onnx, "rb"), content_type="application/octet-stream")  # noqa: SIM115
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


@require_POST
def start_visit(request: HttpRequest, pk: int) -> HttpResponse:
    """Begins to read a lesson with the camera on. -> {"visit": id, "token": ...}"""
    lesson = lesson_for(request.user, pk)
    if not request.user.is_student:
        raise Http404
    if not has_consent(request.user, Consent.Kind.CAMERA):
        return _error("no consent to the camera", 403)
    visits.end_all(request.user, timezone.now())
    visit = Visit.objects.create(student=request.user, lesson=lesson)
    return JsonResponse({"visit": visit.pk, "token": visits.token(visit)}, status=201)


@login_not_required  # the visit's token tells who it is
@require_POST
def reading(request: HttpRequest, pk: int) -> HttpResponse:
    """One second of a visit; answered once it is on disk.

    Header X-Visit-Token: what `start_visit` answered. Body: {"sequence": 1, 2, ...,
    "probabilities": {label: p} or null without a face}. One sent again, because its answer was
    lost, counts once. -> {"message": text of support, or ""}
    """
    try:
        student = visits.student_of(request.headers.get("X-Visit-Token", ""), pk)
    except signing.BadSignature as error:
        raise Http404 from error
    try:
        given = _parse(request.body)
    except ValueError as error:
        return _error(str(error), 400)
    try:
        answer = writer.store(visits.Reading(pk, student, *given))
    except Exception:  # the browser sends it again
        log.exception("a reading could not be stored")
        return _error("not stored, send it again", 503)
    if not answer.accepted:
        raise Http404
    return JsonResponse({"message": answer.message})


def _parse(body: bytes) -> tuple[int, dict[str, float] | None]:
    """The sequence and the probabilities of a reading.

    Raises:
      ValueError: not what `reading` describes, or not of this model.
    """
    if len(body) > READING_BYTES:
        raise ValueError("too long")
    given = json.loads(body)
    if not isinstance(given, dict) or set(given) != {"sequence", "probabilities"}:
        raise ValueError("sequence and probabilities are needed, and nothing else")
    sequence, probabilities = given["sequence"], given["probabilities"]
    if type(sequence) is not int or not 1 <= sequence < 2**31:
        raise ValueError("sequence is a number from 1 on")
    if probabilities is None:
        return sequence, None
    classes = expression_model.load(settings.EXPRESSION_MODEL).classes
    if not isinstance(probabilities, dict) or set(probabilities) != set(classes):
        raise ValueError(f"probabilities need the labels {', '.join(classes)}")
    values = probabilities.values()
    if not all(type(p) in (int, float) and math.isfinite(p) and 0 <= p <= 1 for p in values):
        raise ValueError("probabilities are numbers from 0 to 1")
    if abs(sum(values) - 1) > 0.02:
        raise ValueError("probabilities sum to 1")
    return sequence, {label: round(float(p), 6) for label, p in probabilities.items()}


@require_POST
def end_visit(request: HttpRequest, pk: int) -> HttpResponse:
    """The camera is off, or the page left."""
    visit = get_object_or_404(Visit, pk=pk, student=request.user)
    visits.end(visit, timezone.now())
    return HttpResponse(status=204)


@require_POST
def frame(request: HttpRequest) -> HttpResponse:
    """The second way: a small JPEG as the body. It is in memory only, and only while it is read.

    -> {"face": bool, "low_light": bool, "probabilities": {label: p} or null}
    """
    if not request.user.is_student:
        raise Http404
    if not has_consent(request.user, Consent.Kind.SERVER):
        return _error("no consent to pictures on the server", 403)
    if request.content_type != "image/jpeg":
        return _error("send image/jpeg", 415)
    if int(request.headers.get("Content-Length") or 0) > face_on_server.FRAME_BYTES:
        return _error("too large", 413)
    model = expression_model.load(settings.EXPRESSION_MODEL)
    try:
        return JsonResponse(face_on_server.look_at(model, request.body))
    except ValueError as error:
        return _error(str(error), 400)
