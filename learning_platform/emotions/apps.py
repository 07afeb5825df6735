from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EmotionsConfig(AppConfig):
    name = "learning_platform.emotions"
    verbose_name = _("Emotions")
