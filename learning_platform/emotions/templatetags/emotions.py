"""Filters of the emotions' pages."""

from django import template

from learning_platform.emotions.labels import name

register = template.Library()
register.filter("emotion", name)


@register.filter
def percent(probability: float | None) -> int:
    return round(100 * (probability or 0))


@register.filter
def minutes(seconds: float) -> str:
    """125 -> 2:05"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
