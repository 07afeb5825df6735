"""manage.py purge_records: deletes what is older than it may be; for cron, once a day."""

from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from learning_platform.emotions.models import EmotionRecord, SupportEvent, Visit
from learning_platform.emotions.visits import truncate_log
from learning_platform.people.models import Attempt, AuditEntry

AUDIT_DAYS = 730


class Command(BaseCommand):
    help = "Deletes emotion records, visits and notes older than N days."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--days", type=int, default=settings.RETENTION_DAYS)
        parser.add_argument("--audit-days", type=int, default=AUDIT_DAYS)

    def handle(self, *args, days: int, audit_days: int, **options) -> None:
        if min(days, audit_days) < 0:
            raise CommandError(f"days are 0 or more, not {min(days, audit_days)}")
        now = timezone.now()
        old = now - timedelta(days=days)
        rows = {
            "records": EmotionRecord.objects.filter(time__lt=old),
            "messages shown": SupportEvent.objects.filter(time__lt=old),
            "visits": Visit.objects.filter(started_at__lt=old),
            "audit entries": AuditEntry.objects.filter(time__lt=now - timedelta(days=audit_days)),
            "attempts": Attempt.objects.filter(time__lt=now - timedelta(hours=1)),
            "sessions": Session.objects.filter(expire_date__lt=now),
        }
        for what, found in rows.items():
            count = found.count()
            found.delete()
            self.stdout.write(f"{count} {what} deleted")
        truncate_log()
