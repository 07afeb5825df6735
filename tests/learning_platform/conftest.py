"""Django with a fresh SQLite file for every test, copied from one that is migrated once."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip("django", reason="extra [learning] is not installed")
pytest.importorskip("onnxruntime", reason="extra [learning] is not installed")


def _set_up(folder: Path) -> None:
    """Settings that point into `folder`, a model, and a migrated database; before any import of
    the platform's models, so not in a fixture. The user's cache and settings are not touched."""
    from tests.learning_platform.model_folder import make_model

    ours = {
        "DJANGO_SETTINGS_MODULE": "learning_platform.settings",
        "JAXVISION_CACHE": str(folder / "cache"),
        "LEARNING_PLATFORM_DATA": str(folder / "data"),
        "LEARNING_PLATFORM_MODEL": str(make_model(folder / "model")),
    }
    cleared = {n: v for n, v in os.environ.items() if not _is_setting(n)}
    with mock.patch.dict(os.environ, {**cleared, **ours}, clear=True):
        import django
        from django.conf import settings
        from django.core.management import call_command
        from django.test.utils import setup_test_environment

        # Configuring logging closes the handlers that are there, and absl's, from other tests'
        # imports, closes with itself the stream that pytest captures.
        settings.LOGGING_CONFIG = None
        django.setup()
        setup_test_environment()
        call_command("migrate", verbosity=0)


def _is_setting(name: str) -> bool:
    return name.startswith("LEARNING_PLATFORM_") or name == "DATABASE_URL"


_folder = tempfile.TemporaryDirectory(prefix="learning-platform-tests-")
_set_up(Path(_folder.name))


@pytest.fixture(scope="session")
def platform_folder():
    return Path(_folder.name)


@pytest.fixture
def database(platform_folder, tmp_path, settings):
    """An empty database, the path of its file; uploads go beside it."""
    from django.db import connections

    from learning_platform.emotions import writer

    template = platform_folder / "data" / "db.sqlite3"
    connections.close_all()
    file = tmp_path / "db.sqlite3"
    shutil.copy(template, file)
    connections["default"].settings_dict["NAME"] = str(file)
    # No test pulls the plug: waiting for the disk takes most of the time otherwise.
    options = connections["default"].settings_dict["OPTIONS"]
    options["init_command"] = options["init_command"].replace("=FULL", "=OFF")
    settings(MEDIA_ROOT=tmp_path / "files", MAIL_AT_ONCE=True)
    yield file
    writer.stop()
    connections.close_all()


@pytest.fixture
def settings(platform_folder):
    """settings(NAME=value, ...) until the test ends."""
    from django.test import override_settings

    overrides = []

    def override(**values):
        changed = override_settings(**values)
        changed.enable()
        overrides.append(changed)

    yield override
    for changed in reversed(overrides):
        changed.disable()


@pytest.fixture
def school(database):
    """Two courses with a tutor each, three students, an administrator."""
    from django.core import mail

    from tests.learning_platform.school import School

    mail.outbox.clear()
    return School()
