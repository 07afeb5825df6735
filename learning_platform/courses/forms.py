"""What tutors fill in."""

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from learning_platform import expression_model
from learning_platform.courses.files import kind_of
from learning_platform.courses.models import Course, Lesson, LessonFile
from learning_platform.emotions.labels import name
from learning_platform.emotions.models import SupportMessage


def emotion_choices(kept: list[str] | tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """The model's emotions; those of a former model that are still chosen stay."""
    classes = expression_model.load(settings.EXPRESSION_MODEL).classes
    return [(label, name(label)) for label in dict.fromkeys([*classes, *kept])]


class LessonForm(forms.ModelForm):
    video_link = forms.URLField(label=_("Link to a video"), required=False, assume_scheme="https")

    class Meta:
        model = Lesson
        fields = ["title", "position", "text", "video_link"]
        widgets = {"text": forms.Textarea(attrs={"rows": 16})}


class FileForm(forms.ModelForm):
    class Meta:
        model = LessonFile
        fields = ["file", "caption"]
        widgets = {"file": forms.FileInput(attrs={"accept": "image/*,video/mp4,video/webm"})}

    def clean_file(self):
        upload = self.cleaned_data["file"]
        self.instance.content_type, self.instance.suffix = kind_of(upload)
        return upload


class RuleForm(forms.ModelForm):
    """When a message of support appears."""

    watched = forms.MultipleChoiceField(
        label=_("Emotions to watch for"), widget=forms.CheckboxSelectMultiple, required=False
    )

    class Meta:
        model = Course
        fields = ["watched", "readings_in_row", "pause_seconds"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["watched"].choices = emotion_choices(self.instance.watched)


class MessageForm(forms.ModelForm):
    emotion = forms.ChoiceField(label=_("For"), required=False)

    class Meta:
        model = SupportMessage
        fields = ["text", "emotion", "active"]
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        kept = [self.instance.emotion] if self.instance.emotion else []
        self.fields["emotion"].choices = [("", _("every emotion")), *emotion_choices(kept)]
