"""The administration of courses, modules, and who teaches and takes them.

Emotion records are not here: administrators run the platform, tutors look at records.
"""

from django.contrib import admin
from django.db import models

from learning_platform.courses.models import Course, Enrolment, Lesson, Module
from learning_platform.emotions.models import SupportMessage


class ModuleInline(admin.TabularInline):
    model = Module
    extra = 0
    show_change_link = True


class EnrolmentInline(admin.TabularInline):
    model = Enrolment
    extra = 0
    raw_id_fields = ["student"]  # a window with a search; a list of all students would be long
    readonly_fields = ["since"]


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin):
    list_display = ["title", "published", "open_to_all"]
    list_filter = ["published", "open_to_all", "tutors"]
    search_fields = ["title", "summary"]
    fields = ["title", "summary", "published", "open_to_all", "tutors"]
    inlines = [ModuleInline, EnrolmentInline]


class LessonInline(admin.TabularInline):
    model = Lesson
    extra = 0
    fields = ["title", "position"]
    show_change_link = True


@admin.register(Module)
class ModuleAdmin(admin.ModelAdmin):
    list_display = ["title", "course", "position"]
    list_filter = ["course"]
    search_fields = ["title", "course__title"]
    inlines = [LessonInline]


@admin.register(Lesson)
class LessonAdmin(admin.ModelAdmin):
    list_display = ["title", "module", "position"]
    list_filter = ["module__course"]
    search_fields = ["title", "text"]
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}


@admin.register(Enrolment)
class EnrolmentAdmin(admin.ModelAdmin):
    list_display = ["student", "course", "since"]
    list_filter = ["course"]
    search_fields = ["student__email", "student__name", "course__title"]
    raw_id_fields = ["student"]
    readonly_fields = ["since"]


@admin.register(SupportMessage)
class SupportMessageAdmin(admin.ModelAdmin):
    list_display = ["text", "course", "emotion", "active"]
    list_filter = ["course", "active"]
    search_fields = ["text"]
