"""What students read. Tutors and administrators see the same pages, without the panel."""

from django.conf import settings
from django.db.models import Count, Prefetch, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from learning_platform import browser_files, expression_model, face_on_server
from learning_platform.courses.files import send
from learning_platform.courses.markdown import to_html
from learning_platform.courses.models import (
    Course,
    Enrolment,
    Lesson,
    LessonFile,
    Module,
    Progress,
)
from learning_platform.emotions.labels import name
from learning_platform.people.consent import given
from learning_platform.people.models import User


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    mine = Q(modules__lessons__progress__student=request.user)
    courses = Course.objects.filter(pk__in=Course.objects.visible_to(request.user)).annotate(
        lessons=Count("modules__lessons", distinct=True),
        done=Count("modules__lessons__progress", filter=mine, distinct=True),
    )
    joinable = Course.objects.joinable_by(request.user)
    return render(request, "courses/home.html", {"courses": courses, "joinable": joinable})


@require_safe
def course(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Course.objects.visible_to(request.user), pk=pk)
    modules = shown.modules.prefetch_related("lessons")
    done = set(
        Progress.objects.filter(student=request.user, lesson__module__course=shown).values_list(
            "lesson", flat=True
        )
    )
    total = sum(len(module.lessons.all()) for module in modules)
    page = {"course": shown, "modules": modules, "done": done, "total": total}
    return render(request, "courses/course.html", page)


@require_POST
def join(request: HttpRequest, pk: int) -> HttpResponse:
    chosen = get_object_or_404(Course.objects.joinable_by(request.user), pk=pk)
    Enrolment.objects.get_or_create(course=chosen, student=request.user)
    return redirect(chosen)


def lesson_for(user: User, pk: int) -> Lesson:
    """A lesson that the user may read.

    Raises:
      Http404: there is none, or it is not for them; nobody is told which.
    """
    lessons = Lesson.objects.select_related("module__course")
    return get_object_or_404(
        lessons.filter(module__course__in=Course.objects.visible_to(user)), pk=pk
    )


@require_safe
def lesson(request: HttpRequest, pk: int) -> HttpResponse:
    shown = lesson_for(request.user, pk)
    course = shown.module.course
    modules = Module.objects.filter(course=course).prefetch_related(
        Prefetch("lessons", Lesson.objects.only("id", "title", "module_id", "position"))
    )
    order = [each for module in modules for each in module.lessons.all()]
    place = [each.pk for each in order].index(shown.pk)
    page = {
        "lesson": shown,
        "course": course,
        "html": to_html(shown.text),
        "files": shown.files.all(),
        "previous": order[place - 1] if place else None,
        "next": order[place + 1] if place + 1 < len(order) else None,
        "done": Progress.objects.filter(student=request.user, lesson=shown).exists(),
    }
    if request.user.is_student:
        page["panel"] = _panel(request.user)
    response = render(request, "courses/lesson.html", page)
    response.uses_camera = request.user.is_student
    return response


def _panel(student: User) -> dict:
    """What the panel and its script need to know."""
    model = expression_model.load(settings.EXPRESSION_MODEL)
    first_way = settings.BROWSER_FILES.is_dir()
    return {
        "consents": given(student),
        "days": settings.RETENTION_DAYS,
        "seconds": settings.RECORD_SECONDS,
        "script": {
            "first_way": first_way,
            "browser_files": f"{settings.STATIC_URL}{browser_files.VERSION}/",
            "detector": browser_files.DETECTOR,
            "classes": list(model.classes),
            "names": {label: name(label) for label in model.classes},
            "temperature": model.temperature,
            "side": model.side,
            "channels": model.channels,
            "input": model.input_name,
            "output": model.output_name,
            "version": model.version,
            "margin": expression_model.MARGIN,
            "low_light": face_on_server.LOW_LIGHT,
        },
    }


@require_POST
def done(request: HttpRequest, pk: int) -> HttpResponse:
    """Marks a lesson as done, or takes the mark back."""
    chosen = lesson_for(request.user, pk)
    if not request.user.is_student:
        raise Http404
    mark = Progress.objects.filter(student=request.user, lesson=chosen)
    if request.POST.get("done") == "no":
        mark.delete()
    else:
        Progress.objects.get_or_create(student=request.user, lesson=chosen)
    return redirect(chosen)


@require_safe
def lesson_file(request: HttpRequest, pk: int) -> HttpResponse:
    visible = Course.objects.visible_to(request.user)
    file = get_object_or_404(LessonFile.objects.filter(lesson__module__course__in=visible), pk=pk)
    return send(request, file)
