"""Accounts: registering, passwords, consents."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import PasswordResetView
from django.core import signing
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from learning_platform.people.consent import give, given, revoke
from learning_platform.people.forms import (
    FinishForm,
    NameForm,
    QuietPasswordResetForm,
    RegisterForm,
)
from learning_platform.people.limits import too_many
from learning_platform.people.models import Consent, User

SALT = "learning_platform.register"
LINK_LASTS = timedelta(days=1)


def refused(request: HttpRequest) -> HttpResponse:
    text = _("Too many requests came from your address. Please try again in an hour.")
    return render(request, "refused.html", {"text": text}, status=429)


def locked_out(request: HttpRequest, *args, **kwargs) -> HttpResponse:
    """What django-axes shows after too many failed log-ins, whether the account exists or not."""
    text = _("Too many failed log-ins. Please try again in a quarter of an hour.")
    return render(request, "refused.html", {"text": text}, status=429)


@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Asks for an address and sends a mail to it; the answer never tells who has an account."""
    if request.user.is_authenticated:
        return redirect("home")
    form = RegisterForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if too_many(request):
            return refused(request)
        email = form.cleaned_data["email"]
        known = User.objects.filter(email=email).exists()
        token = signing.dumps(email, salt=SALT)
        path = reverse("login") if known else reverse("register_finish", args=[token])
        text = render_to_string(
            "people/register_mail.txt", {"known": known, "link": request.build_absolute_uri(path)}
        )
        send_mail(_("Your account for the courses"), text, None, [email])
        return redirect("register_sent")
    return render(request, "people/register.html", {"form": form})


@login_not_required
@require_safe
def register_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "people/register_sent.html")


@sensitive_post_parameters()
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def register_finish(request: HttpRequest, token: str) -> HttpResponse:
    """Makes the account of whoever read the mail."""
    try:
        email = signing.loads(token, salt=SALT, max_age=LINK_LASTS)
    except signing.BadSignature:
        text = _("This link is too old or not complete. Please register again.")
        return render(request, "refused.html", {"text": text}, status=404)
    if User.objects.filter(email=email).exists():
        return redirect("login")
    form = FinishForm(request.POST or None, instance=User(email=email))
    if request.method == "POST" and form.is_valid():
        user = form.save()
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return redirect("home")
    return render(request, "people/register_finish.html", {"form": form, "email": email})


@method_decorator(login_not_required, name="dispatch")
class PasswordForgotten(PasswordResetView):
    form_class = QuietPasswordResetForm
    email_template_name = "people/password_mail.txt"
    subject_template_name = "people/password_mail_subject.txt"

    def form_valid(self, form: QuietPasswordResetForm) -> HttpResponse:
        return refused(self.request) if too_many(self.request) else super().form_valid(form)


@login_not_required
@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    days = {"days": settings.RETENTION_DAYS, "seconds": settings.RECORD_SECONDS}
    return render(request, "people/privacy.html", days)


@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    form = NameForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("account")
    shown = {"form": form, "consents": given(request.user), "kinds": Consent.Kind}
    return render(request, "people/account.html", shown)


@require_POST
def consent(request: HttpRequest) -> HttpResponse:
    """Gives and takes back consents.

    POST: give, revoke: kinds of consent, each as often as needed; next: where to go then.
    """
    if not request.user.is_student:
        return render(request, "404.html", status=404)
    for kind in Consent.Kind.values:
        if kind in request.POST.getlist("give"):
            give(request.user, kind)
        elif kind in request.POST.getlist("revoke"):
            revoke(request.user, kind)
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()):
        target = reverse("account")
    return redirect(target)
