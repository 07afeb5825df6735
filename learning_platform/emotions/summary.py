"""Figures about a student's records, and about a group's."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from django.conf import settings

from learning_platform.courses.models import Module
from learning_platform.emotions.models import EmotionRecord


class Share(NamedTuple):
    """An emotion's part: records with it as their label; mean probability; the group's mean."""

    label: str
    records: int
    share: float
    mean: float
    group: float | None


class Span(NamedTuple):
    """Attention was lost: where, and from when to when (seconds after the visit began)."""

    lesson: str
    start: datetime
    after: float
    seconds: float


def means(records: Iterable[EmotionRecord]) -> dict[str, float]:
    """Mean probability of each emotion, each record weighted by its readings with a face."""
    sums, seen = defaultdict(float), 0
    for record in records:
        seen += record.seen
        for label, probability in record.probabilities.items():
            sums[label] += probability * record.seen
    return {label: total / seen for label, total in sums.items()} if seen else {}


def shares(
    records: Sequence[EmotionRecord], labels: Sequence[str], group: dict[str, float] | None
) -> list[Share]:
    """Of each emotion, in the order of `labels`; those of a former model come last."""
    counts = Counter(record.label for record in records if record.label)
    mean, total = means(records), max(1, sum(counts.values()))
    every = dict.fromkeys([*labels, *mean])
    return [
        Share(
            label,
            counts[label],
            counts[label] / total,
            mean.get(label, 0.0),
            group.get(label, 0.0) if group else None,
        )
        for label in every
    ]


def most_frequent(parts: Sequence[Share]) -> str | None:
    best = max(parts, key=lambda part: (part.records, part.mean), default=None)
    return best.label if best and best.records else None


def group_means(module: Module) -> dict[str, float] | None:
    """Each student of the module counts alike; None with fewer than settings.GROUP_AT_LEAST."""
    rows = EmotionRecord.objects.filter(
        module=module, seen__gt=0, student__courses_taken=module.course_id
    ).order_by("student")
    each = [means(own) for _, own in groupby(rows, key=lambda record: record.student_id)]
    if len(each) < settings.GROUP_AT_LEAST:
        return None
    labels = dict.fromkeys(label for one in each for label in one)
    return {label: sum(one.get(label, 0.0) for one in each) / len(each) for label in labels}


def attention_lost(records: Sequence[EmotionRecord]) -> list[Span]:
    """Stretches in which most readings had no face, or the page was out of sight.

    Args:
      records: in the order of time, with `lesson` and `visit`.
    """
    spans = []
    for (_, lost), run in groupby(records, key=lambda r: (r.visit_id, r.attention_lost)):
        if lost:
            run = list(run)
            start = run[0].time.timestamp() - run[0].seconds
            began = run[0].visit.started_at.timestamp() if run[0].visit else start
            spans.append(
                Span(
                    run[0].lesson.title if run[0].lesson else "",
                    datetime.fromtimestamp(start, run[0].time.tzinfo),
                    max(0.0, start - began),
                    sum(record.seconds for record in run),
                )
            )
    return spans
