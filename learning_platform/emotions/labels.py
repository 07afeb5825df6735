"""What the emotions are called. A model's other classes keep their own name."""

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

NAMES = {
    "angry": _("angry"),
    "disgust": _("disgusted"),
    "fear": _("fearful"),
    "happy": _("happy"),
    "neutral": _("neutral"),
    "sad": _("sad"),
    "surprise": _("surprised"),
}


def name(label: str) -> str:
    """The label in the reader's language; '' (no face) in words."""
    if not label:
        return gettext("no face")
    return str(NAMES.get(label, label))
