"""Every address of the platform. tests/learning_platform/test_access.py has a rule for each."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.urls import path
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from learning_platform.courses import tutor
from learning_platform.courses import views as courses
from learning_platform.emotions import api, history, records
from learning_platform.people import views as people

form = require_http_methods(["GET", "HEAD", "POST"])  # Django's own forms take a PUT for a GET

VISITOR = [
    path("privacy/", people.privacy, name="privacy"),
    path("language/", login_not_required(require_POST(set_language)), name="language"),
    path("register/", people.register, name="register"),
    path("register/sent/", people.register_sent, name="register_sent"),
    path("register/<str:token>/", people.register_finish, name="register_finish"),
    path("login/", form(auth.LoginView.as_view(redirect_authenticated_user=True)), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("password/forgotten/", form(people.PasswordForgotten.as_view()), name="password_reset"),
    path("password/sent/", auth.PasswordResetDoneView.as_view(), name="password_reset_done"),
    path(
        "password/<str:uidb64>/<str:token>/",
        form(auth.PasswordResetConfirmView.as_view()),
        name="password_reset_confirm",
    ),
    path("password/set/", auth.PasswordResetCompleteView.as_view(), name="password_reset_complete"),
]
ACCOUNT = [
    path("account/", people.account, name="account"),
    path("account/consent/", people.consent, name="consent"),
    path("account/password/", form(auth.PasswordChangeView.as_view()), name="password_change"),
    path(
        "account/password/done/",
        auth.PasswordChangeDoneView.as_view(),
        name="password_change_done",
    ),
]
STUDENT = [
    path("", courses.home, name="home"),
    path("courses/<int:pk>/", courses.course, name="course"),
    path("courses/<int:pk>/join/", courses.join, name="join"),
    path("lessons/<int:pk>/", courses.lesson, name="lesson"),
    path("lessons/<int:pk>/done/", courses.done, name="lesson_done"),
    path("files/<int:pk>/", courses.lesson_file, name="lesson_file"),
    path("history/", history.history, name="history"),
    path("history/emotions.csv", history.download, name="history_download"),
    path("history/delete/", history.delete, name="history_delete"),
    path("expression-model/<str:version>.onnx", api.model_file, name="model_file"),
    path("lessons/<int:pk>/visits/", api.start_visit, name="start_visit"),
    path("visits/<int:pk>/readings/", api.reading, name="reading"),
    path("visits/<int:pk>/end/", api.end_visit, name="end_visit"),
    path("frames/", api.frame, name="frame"),
]
TUTOR = [
    path("tutor/courses/<int:pk>/", tutor.course, name="tutor_course"),
    path("tutor/courses/<int:pk>/messages/", tutor.messages_of, name="tutor_messages"),
    path("tutor/courses/<int:pk>/messages/new/", tutor.message_new, name="message_new"),
    path("tutor/courses/<int:pk>/notes/", records.notes, name="tutor_notes"),
    path("tutor/messages/<int:pk>/", tutor.message_edit, name="message_edit"),
    path("tutor/messages/<int:pk>/delete/", tutor.message_delete, name="message_delete"),
    path("tutor/modules/<int:pk>/lessons/new/", tutor.lesson_new, name="lesson_new"),
    path("tutor/lessons/<int:pk>/", tutor.lesson_edit, name="lesson_edit"),
    path("tutor/lessons/<int:pk>/delete/", tutor.lesson_delete, name="lesson_delete"),
    path("tutor/lessons/<int:pk>/files/", tutor.file_add, name="file_add"),
    path("tutor/files/<int:pk>/delete/", tutor.file_delete, name="file_delete"),
    path("tutor/modules/<int:pk>/students/<int:student>/", records.student, name="student_records"),
    path(
        "tutor/modules/<int:pk>/students/<int:student>/emotions.csv",
        records.student_csv,
        name="student_records_csv",
    ),
]
urlpatterns = [*VISITOR, *ACCOUNT, *STUDENT, *TUTOR, path("admin/", admin.site.urls)]
