"""People, what they consented to, and who looked at whose records."""

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class UserManager(BaseUserManager):
    def create_user(self, email: str, password: str | None = None, **fields) -> "User":
        user = self.model(email=normal_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields) -> "User":
        fields.pop("is_staff", None)
        fields.pop("is_superuser", None)
        return self.create_user(email, password, role=User.Role.ADMINISTRATOR, **fields)

    def get_by_natural_key(self, email: str) -> "User":
        return self.get(email=normal_email(email))


def normal_email(email: str) -> str:
    """One spelling per address, so that nobody has two accounts by accident."""
    return email.strip().lower()


class User(AbstractUser):
    class Role(models.TextChoices):
        STUDENT = "student", _("Student")
        TUTOR = "tutor", _("Tutor")
        ADMINISTRATOR = "administrator", _("Administrator")

    username = None
    first_name = None
    last_name = None
    email = models.EmailField(_("e-mail address"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    role = models.CharField(
        _("role"), max_length=20, choices=Role.choices, default=Role.STUDENT, db_index=True
    )

    objects = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    class Meta:
        verbose_name = _("person")
        verbose_name_plural = _("people")
        ordering = ["name", "email"]

    def __str__(self) -> str:
        return self.name or self.email

    def save(self, *args, **kwargs) -> None:
        # The role alone decides who may enter the administration.
        self.is_staff = self.is_superuser = self.role == self.Role.ADMINISTRATOR
        if kwargs.get("update_fields"):
            kwargs["update_fields"] = {*kwargs["update_fields"], "is_staff", "is_superuser"}
        super().save(*args, **kwargs)

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name

    @property
    def is_student(self) -> bool:
        return self.role == self.Role.STUDENT

    @property
    def is_tutor(self) -> bool:
        return self.role == self.Role.TUTOR


class Consent(models.Model):
    """One yes of a student, and when it was taken back. Rows are never changed otherwise."""

    class Kind(models.TextChoices):
        CAMERA = "camera", _("the camera is read in the browser")
        SERVER = "server", _("small pictures go to the server and are forgotten")
        TUTOR = "tutor", _("tutors are told when a message of support was shown")

    student = models.ForeignKey(User, models.CASCADE, related_name="consents")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    given_at = models.DateTimeField(default=timezone.now)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-given_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["student", "kind"],
                condition=models.Q(revoked_at=None),
                name="one_consent_of_a_kind_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.student}: {self.get_kind_display()}"


class AuditEntry(models.Model):
    """Somebody looked at a student's records. The names stay when an account goes."""

    class Action(models.TextChoices):
        VIEWED = "viewed", _("viewed")
        EXPORTED = "exported", _("downloaded")

    time = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    actor = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", verbose_name=_("who")
    )
    actor_email = models.EmailField(_("who (e-mail)"))
    student = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="looked_at", verbose_name=_("whose")
    )
    student_email = models.EmailField(_("whose (e-mail)"))
    action = models.CharField(_("action"), max_length=10, choices=Action.choices)
    what = models.CharField(_("what"), max_length=200)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit trail")
        ordering = ["-time"]

    def __str__(self) -> str:
        return f"{self.actor_email} {self.action} {self.student_email}"


class Attempt(models.Model):
    """A request for an account or a new password, counted for the rate limit."""

    address = models.GenericIPAddressField()
    time = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["address", "time"])]
