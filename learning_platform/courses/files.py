"""Pictures and videos of lessons: what may be uploaded, and how they are sent."""

import re
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _
from PIL import Image

from learning_platform.courses.models import LessonFile

PICTURES = {
    "JPEG": ("image/jpeg", ".jpg"),
    "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"),
}
CHUNK = 2**16


def kind_of(upload: UploadedFile) -> tuple[str, str]:
    """Content type and suffix of an upload, from its bytes; its name counts for nothing.

    Raises:
      ValidationError: neither a picture nor a video that browsers show, or too large.
    """
    head = upload.read(16)
    upload.seek(0)
    if video := _video(head):
        if upload.size > settings.VIDEO_BYTES:
            raise ValidationError(_too_large(settings.VIDEO_BYTES))
        return video
    if upload.size > settings.PICTURE_BYTES:
        raise ValidationError(_too_large(settings.PICTURE_BYTES))
    try:
        with Image.open(upload, formats=list(PICTURES)) as picture:
            picture.verify()
            return PICTURES[picture.format]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValidationError(
            _("This file is neither a picture (JPEG, PNG, WebP) nor a video (MP4, WebM).")
        ) from error
    finally:
        upload.seek(0)


def _too_large(most: int) -> str:
    return _("This file is too large: at most %(megabytes)d MB.") % {"megabytes": most // 2**20}


def _video(head: bytes) -> tuple[str, str] | None:
    if head[4:8] == b"ftyp":
        return "video/mp4", ".mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm", ".webm"
    return None


@receiver(post_delete, sender=LessonFile)
def remove_from_disk(instance: LessonFile, **kwargs) -> None:
    instance.file.delete(save=False)


def send(request: HttpRequest, file: LessonFile) -> HttpResponse:
    """The file, or the part of it that a video player asks for."""
    path = Path(file.file.path)
    size = path.stat().st_size
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if wanted is None:
        response = FileResponse(open(path, "rb"), content_type=file.content_type)  # noqa: SIM115
    else:
        first = int(wanted[1])
        last = min(int(wanted[2] or size - 1), size - 1)
        if first > last:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
        part = _part(open(path, "rb"), first, last - first + 1)  # noqa: SIM115
        response = StreamingHttpResponse(part, status=206, content_type=file.content_type)
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
        response["Content-Length"] = last - first + 1
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = "inline"
    response["Cache-Control"] = "private, max-age=3600"
    return response


def _part(source: BinaryIO, first: int, length: int):
    with source:
        source.seek(first)
        while length > 0 and (data := source.read(min(CHUNK, length))):
            length -= len(data)
            yield data
