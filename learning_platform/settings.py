"""Django's settings. What a school sets comes from the environment; README.md has the table."""

import os
import secrets
from pathlib import Path

import dj_database_url
from django.utils.translation import gettext_lazy as _

from jaxvision.cache import cache_dir
from learning_platform import browser_files, translations

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("LEARNING_PLATFORM_DATA", "workdir/learning_platform")).resolve()
DATA.mkdir(parents=True, exist_ok=True, mode=0o700)


def _secret_key() -> str:
    """$LEARNING_PLATFORM_SECRET_KEY, else a key that is made once and kept in the data folder."""
    if key := os.environ.get("LEARNING_PLATFORM_SECRET_KEY"):
        return key
    file = DATA / "secret_key"
    try:
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(64))
    except FileExistsError:
        pass
    return file.read_text()


SECRET_KEY = _secret_key()
DEBUG = False
HTTPS = os.environ.get("LEARNING_PLATFORM_HTTPS") == "1"
HOSTS = os.environ.get("LEARNING_PLATFORM_HOSTS", "localhost,127.0.0.1,[::1]")
ALLOWED_HOSTS = [host.strip() for host in HOSTS.split(",")]
# How many proxies of the school's own stand in front; each adds an address to X-Forwarded-For.
PROXIES = int(os.environ.get("LEARNING_PLATFORM_PROXIES", "0"))

INSTALLED_APPS = [
    "learning_platform.people",
    "learning_platform.courses",
    "learning_platform.emotions",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "learning_platform.security.content_security_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "learning_platform.urls"
WSGI_APPLICATION = "learning_platform.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# WAL: readers do not wait for the writer. IMMEDIATE: a transaction that will write waits at its
# start, where SQLite does wait, not in its middle, where it fails. FULL: what was acknowledged
# outlives a power cut. secure_delete: deleted bytes are overwritten.
SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
}
DATABASES = {
    "default": dj_database_url.config(default=f"sqlite:///{DATA / 'db.sqlite3'}", conn_max_age=600)
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = SQLITE
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "people.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
_RULES = "django.contrib.auth.password_validation."
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": _RULES + "UserAttributeSimilarityValidator"},
    {"NAME": _RULES + "MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": _RULES + "CommonPasswordValidator"},
    {"NAME": _RULES + "NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_RESET_TIMEOUT = 60 * 60 * 24

AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "learning_platform.people.limits.client_ip"
AXES_USERNAME_CALLABLE = "learning_platform.people.limits.login_name"
AXES_LOCKOUT_CALLABLE = "learning_platform.people.views.locked_out"
AXES_VERBOSE = False
# Per address and hour: asking for an account or a new password.
REQUESTS_AN_HOUR = int(os.environ.get("LEARNING_PLATFORM_REQUESTS_AN_HOUR", "20"))

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 60 * 60 * 24 * 7
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 60 * 60 * 24 * 365 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS and PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [translations.compiled(HERE / "locale", cache_dir() / "learning_platform")]
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_TZ = True
TIME_ZONE = os.environ.get("LEARNING_PLATFORM_TIME_ZONE", "UTC")

# Static files are served by the application itself; what npm brought, from the cache folder.
STATIC_URL = "/static/"
BROWSER_FILES = browser_files.folder()
STATICFILES_DIRS = [HERE / "static"]
if BROWSER_FILES.is_dir():
    STATICFILES_DIRS.append((browser_files.VERSION, BROWSER_FILES))
WHITENOISE_USE_FINDERS = True
WHITENOISE_MIMETYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_IMMUTABLE_FILE_TEST = f"^/static/{browser_files.VERSION}/"

# Uploads of tutors, served by a view that checks who asks, never from a public folder.
MEDIA_ROOT = DATA / "files"
PICTURE_BYTES = 5 * 2**20
VIDEO_BYTES = 200 * 2**20
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20

if mail_host := os.environ.get("LEARNING_PLATFORM_MAIL_HOST"):
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = mail_host
    EMAIL_PORT = int(os.environ.get("LEARNING_PLATFORM_MAIL_PORT", "587"))
    EMAIL_HOST_USER = os.environ.get("LEARNING_PLATFORM_MAIL_USER", "")
    EMAIL_HOST_PASSWORD = os.environ.get("LEARNING_PLATFORM_MAIL_PASSWORD", "")
    EMAIL_USE_TLS = True
    EMAIL_TIMEOUT = 20
elif mail_folder := os.environ.get("LEARNING_PLATFORM_MAIL_FOLDER"):
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = mail_folder
else:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
DEFAULT_FROM_EMAIL = os.environ.get("LEARNING_PLATFORM_MAIL_FROM", "courses@localhost")

# The emotions.
EXPRESSION_MODEL = os.environ.get("LEARNING_PLATFORM_MODEL", "zoo/fer")
RECORD_SECONDS = 20
RETENTION_DAYS = int(os.environ.get("LEARNING_PLATFORM_RETENTION_DAYS", "180"))
GROUP_AT_LEAST = 5  # students, before a group's figures are shown

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
