from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EmotionsConfig(AppConfig):
    name = "learning_platform.emotions"
    verbose_name = _("Emotions")

    def ready(self) -> None:
        from learning_platform.emotions import support, visits  # noqa: F401  for their receivers
