"""Forms about accounts."""

import threading

from django import forms
from django.conf import settings
from django.contrib.auth.forms import BaseUserCreationForm, PasswordResetForm
from django.db import connections
from django.utils.translation import gettext_lazy as _

from learning_platform.people.models import User, normal_email


class RegisterForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"), widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )

    def clean_email(self) -> str:
        return normal_email(self.cleaned_data["email"])


class FinishForm(BaseUserCreationForm):
    """Name and password of a student whose address is known to be right."""

    class Meta:
        model = User
        fields = ["name"]
        labels = {"name": _("Name")}
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "name"})}


class NameForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ["name"]
        labels = {"name": _("Name")}
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "name"})}


class QuietPasswordResetForm(PasswordResetForm):
    """Answers as fast for an unknown address as for a known one: the mail is sent beside it."""

    def clean_email(self) -> str:
        return normal_email(self.cleaned_data["email"])

    def save(self, **options) -> None:
        send = super().save

        def work() -> None:
            try:
                send(**options)
            finally:
                connections.close_all()

        if getattr(settings, "MAIL_AT_ONCE", False):
            send(**options)
        else:
            threading.Thread(target=work, name="mail").start()
