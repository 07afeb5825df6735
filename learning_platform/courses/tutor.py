"""What tutors do in their own courses: lessons, files, messages of support."""

from django.contrib import messages
from django.db.models import Count, QuerySet, Sum
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from learning_platform.courses.forms import FileForm, LessonForm, MessageForm, RuleForm
from learning_platform.courses.models import Course, Lesson, LessonFile, Module
from learning_platform.emotions.labels import name
from learning_platform.emotions.models import EmotionRecord, SupportMessage
from learning_platform.people.models import User

form_page = require_http_methods(["GET", "HEAD", "POST"])


def own(user: User, model: type, path: str) -> QuerySet:
    """The rows of `model` in the user's own courses; `path` leads from the model to its course."""
    return model.objects.filter(**{f"{path}__in": Course.objects.writable_by(user)})


def own_course(request: HttpRequest, pk: int) -> Course:
    return get_object_or_404(Course.objects.writable_by(request.user), pk=pk)


@require_safe
def course(request: HttpRequest, pk: int) -> HttpResponse:
    """Modules with their lessons, and of each student how long was recorded; no emotion yet."""
    shown = own_course(request, pk)
    recorded = {
        (row["module"], row["student"]): row["total"] / 60
        for row in EmotionRecord.objects.filter(module__course=shown, student__courses_taken=shown)
        .values("module", "student")
        .annotate(total=Sum("seconds"))
    }
    students = shown.students.order_by("name", "email")
    modules = [
        {
            "module": module,
            "students": [(each, recorded.get((module.pk, each.pk))) for each in students],
        }
        for module in shown.modules.prefetch_related("lessons")
    ]
    return render(request, "tutor/course.html", {"course": shown, "modules": modules})


def _edit(
    request: HttpRequest, form: ModelForm, course: Course, title: str, target: str, **more
) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect(target, *more.pop("target_args", [course.pk]))
    page = {"form": form, "course": course, "title": title, "target": target, **more}
    return render(request, "tutor/form.html", page)


@form_page
def lesson_new(request: HttpRequest, pk: int) -> HttpResponse:
    module = get_object_or_404(own(request.user, Module, "course"), pk=pk)
    last = module.lessons.aggregate(n=Count("pk"))["n"]
    form = LessonForm(request.POST or None, instance=Lesson(module=module, position=last + 1))
    return _edit(request, form, module.course, _("New lesson"), "tutor_course")


def _own_lesson(request: HttpRequest, pk: int) -> Lesson:
    return get_object_or_404(own(request.user, Lesson, "module__course"), pk=pk)


@form_page
def lesson_edit(request: HttpRequest, pk: int) -> HttpResponse:
    lesson = _own_lesson(request, pk)
    form = LessonForm(request.POST or None, instance=lesson)
    more = {"lesson": lesson, "files": lesson.files.all(), "file_form": FileForm()}
    return _edit(
        request,
        form,
        lesson.module.course,
        _("Lesson"),
        "lesson_edit",
        target_args=[lesson.pk],
        **more,
    )


@form_page
def lesson_delete(request: HttpRequest, pk: int) -> HttpResponse:
    lesson = _own_lesson(request, pk)
    return _delete(request, lesson, "tutor_course", lesson.module.course)


def _delete(request: HttpRequest, row, target: str, course: Course) -> HttpResponse:
    """Asks first; a POST deletes."""
    if request.method == "POST":
        row.delete()
        messages.success(request, _("Deleted."))
        return redirect(target, course.pk)
    page = {"row": row, "target": target, "course": course}
    return render(request, "tutor/delete.html", page)


@require_POST
def file_add(request: HttpRequest, pk: int) -> HttpResponse:
    lesson = _own_lesson(request, pk)
    form = FileForm(request.POST, request.FILES, instance=LessonFile(lesson=lesson))
    if form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("lesson_edit", lesson.pk)
    page = {
        "form": LessonForm(instance=lesson),
        "course": lesson.module.course,
        "title": _("Lesson"),
        "target": "lesson_edit",
        "lesson": lesson,
        "files": lesson.files.all(),
        "file_form": form,
    }
    return render(request, "tutor/form.html", page, status=400)


@require_POST
def file_delete(request: HttpRequest, pk: int) -> HttpResponse:
    file = get_object_or_404(own(request.user, LessonFile, "lesson__module__course"), pk=pk)
    file.delete()
    messages.success(request, _("Deleted."))
    return redirect("lesson_edit", file.lesson_id)


@form_page
def messages_of(request: HttpRequest, pk: int) -> HttpResponse:
    """The rule and the list of a course's messages of support."""
    shown = own_course(request, pk)
    form = RuleForm(request.POST or None, instance=shown)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("tutor_messages", pk)
    listed = [(m, name(m.emotion) if m.emotion else "") for m in shown.support_messages.all()]
    page = {"course": shown, "form": form, "listed": listed}
    return render(request, "tutor/messages.html", page)


@form_page
def message_new(request: HttpRequest, pk: int) -> HttpResponse:
    shown = own_course(request, pk)
    form = MessageForm(request.POST or None, instance=SupportMessage(course=shown))
    return _edit(request, form, shown, _("New message of support"), "tutor_messages")


def _own_message(request: HttpRequest, pk: int) -> SupportMessage:
    return get_object_or_404(own(request.user, SupportMessage, "course"), pk=pk)


@form_page
def message_edit(request: HttpRequest, pk: int) -> HttpResponse:
    message = _own_message(request, pk)
    form = MessageForm(request.POST or None, instance=message)
    return _edit(request, form, message.course, _("Message of support"), "tutor_messages")


@form_page
def message_delete(request: HttpRequest, pk: int) -> HttpResponse:
    message = _own_message(request, pk)
    return _delete(request, message, "tutor_messages", message.course)
