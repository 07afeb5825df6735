"""The administration of people, their consents and the audit trail."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _

from learning_platform.courses.models import Course, Enrolment
from learning_platform.people.models import AuditEntry, User

admin.site.site_header = admin.site.site_title = _("Administration of the courses")
admin.site.unregister(Group)  # the role alone decides


class NewPersonForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class TakenInline(admin.TabularInline):
    model = Enrolment
    extra = 0
    readonly_fields = ["since"]
    verbose_name = _("course taken")
    verbose_name_plural = _("courses taken")


class TaughtInline(admin.TabularInline):
    model = Course.tutors.through
    extra = 0
    verbose_name = _("course taught")
    verbose_name_plural = _("courses taught")


@admin.register(User)
class PersonAdmin(UserAdmin):
    add_form = NewPersonForm
    list_display = ["email", "name", "role", "is_active", "last_login"]
    list_filter = ["role", "is_active", "courses_taken"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["email", "name", "role", "is_active", "password"]}),
        (_("Dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["email", "name", "role", "usable_password", "password1", "password2"]})
    ]
    filter_horizontal = []
    inlines = [TakenInline, TaughtInline]

    def get_inlines(self, request, obj):
        if obj is None:
            return []
        return [TakenInline] if obj.is_student else [TaughtInline] if obj.is_tutor else []


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    """To read only: nobody can rewrite who looked at whose records."""

    list_display = ["time", "actor_email", "action", "student_email", "what"]
    list_filter = ["action", "time"]
    search_fields = ["actor_email", "student_email", "what"]
    date_hierarchy = "time"

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False
