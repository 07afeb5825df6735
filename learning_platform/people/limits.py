"""Where a request comes from, and how many of a kind are too many."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from learning_platform.people.models import Attempt, normal_email


def client_ip(request: HttpRequest) -> str:
    """The address of whoever asks.

    Behind settings.PROXIES proxies it is that many places from the end of X-Forwarded-For; what
    stands before it was written by the client and counts for nothing.
    """
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if settings.PROXIES and len(forwarded) >= settings.PROXIES:
        return forwarded[-settings.PROXIES].strip()
    return request.META.get("REMOTE_ADDR") or "127.0.0.1"  # a local socket has no address


def too_many(request: HttpRequest) -> bool:
    """Counts this request; True once its address had settings.REQUESTS_AN_HOUR in an hour."""
    since = timezone.now() - timedelta(hours=1)
    Attempt.objects.filter(time__lt=since).delete()
    mine = Attempt.objects.filter(address=client_ip(request))
    if mine.count() >= settings.REQUESTS_AN_HOUR:
        return True
    Attempt.objects.create(address=client_ip(request))
    return False


def login_name(request: HttpRequest, credentials: dict | None) -> str:
    """Whose failed log-ins are counted: an address in one spelling, whatever was typed."""
    given = credentials or request.POST
    return normal_email(given.get("username") or given.get("email") or "")
