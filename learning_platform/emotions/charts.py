"""Geometry of the charts; the templates draw them as SVG, coloured by the style sheet."""

from collections.abc import Sequence

from learning_platform.emotions.labels import name
from learning_platform.emotions.models import EmotionRecord
from learning_platform.emotions.summary import Share

COLOURS = 10  # classes e0..e9 of the style sheet
HEIGHT = 120
COLUMN, GAP = 8, 6  # widths: of a record, and between two visits
MOST = 240  # records in a timeline: 80 minutes


def colours(labels: Sequence[str]) -> dict[str, int]:
    return {label: i % COLOURS for i, label in enumerate(labels)}


def timeline(records: Sequence[EmotionRecord], labels: Sequence[str]) -> dict:
    """A column a record, its height split by the probabilities; hatched where attention was lost.

    Args:
      records: in the order of time; the last MOST are drawn.
      labels: every label, in the order of their colours.
    """
    records, number = list(records)[-MOST:], colours(labels)
    x, visit, columns = 0, records[0].visit_id if records else None, []
    for record in records:
        if record.visit_id != visit:
            x, visit = x + GAP, record.visit_id
        top, pieces = HEIGHT, []
        face = record.seen / max(1, record.seen + record.absent)
        for label in labels:
            height = round(record.probabilities.get(label, 0.0) * HEIGHT * face, 2)
            top = round(top - height, 2)
            pieces.append({"y": top, "height": height, "colour": number[label]})
        columns.append(
            {
                "x": x,
                "time": record.time,
                "name": name(record.label),
                "percent": round(100 * (record.probability or 0)),
                "pieces": pieces,
                "lost": record.attention_lost,
            }
        )
        x += COLUMN
    # A few records do not become giants: the drawing is as wide as 60 at least.
    return {
        "columns": columns,
        "width": max(x, 60 * COLUMN),
        "height": HEIGHT,
        "column": COLUMN - 1,
    }


def bars(parts: Sequence[Share]) -> list[dict]:
    """Of each emotion: its bars, in hundredths of the full width, and the words beside them."""
    number = colours([part.label for part in parts])
    start, rows = 0.0, []
    for part in parts:
        rows.append(
            {
                "name": name(part.label),
                "colour": number[part.label],
                "records": part.records,
                "share": round(100 * part.share, 1),
                "start": round(start, 2),
                "mean": round(100 * part.mean, 1),
                "group": None if part.group is None else round(100 * part.group, 1),
                "difference": None
                if part.group is None
                else round(100 * (part.mean - part.group), 1),
            }
        )
        start += 100 * part.share
    return rows
