"""What a student agreed to."""

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from learning_platform.people.models import AuditEntry, Consent, User

# Sent with `student`, `kind` and `now`, within the transaction: either what rests on a consent ends
# with it, or the consent stays.
revoked = Signal()


def has_consent(student: User, kind: str) -> bool:
    return Consent.objects.filter(student=student, kind=kind, revoked_at=None).exists()


def given(student: User) -> dict[str, Consent]:
    """The consents in force, by kind."""
    return {c.kind: c for c in Consent.objects.filter(student=student, revoked_at=None)}


def give(student: User, kind: str) -> None:
    Consent.objects.get_or_create(student=student, kind=kind, revoked_at=None)


def revoke(student: User, kind: str) -> None:
    """Takes a consent back; with the camera's, everything that rests on it ends at once."""
    now = timezone.now()
    with transaction.atomic():
        Consent.objects.filter(student=student, kind=kind, revoked_at=None).update(revoked_at=now)
        if kind == Consent.Kind.CAMERA:
            Consent.objects.filter(
                student=student, kind=Consent.Kind.SERVER, revoked_at=None
            ).update(revoked_at=now)
        revoked.send(Consent, student=student, kind=kind, now=now)


def audit(actor: User, student: User, action: str, what: str) -> None:
    """Notes that `actor` looked at `student`'s records."""
    AuditEntry.objects.create(
        actor=actor,
        actor_email=actor.email,
        student=student,
        student_email=student.email,
        action=action,
        what=what[:200],
    )
