"""Every text exists in both languages."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest

from learning_platform import translations
from learning_platform.people.consent import give

HERE = Path(translations.__file__).parent
GERMAN = HERE / "locale" / "de" / "LC_MESSAGES" / "django.po"


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[sd]|\{\w+\}|<[^>]+>", text))


def test_every_german_text_is_there_and_keeps_its_placeholders():
    for entry in polib.pofile(str(GERMAN)):
        given = list(entry.msgstr_plural.values()) or [entry.msgstr]
        assert all(given) and "fuzzy" not in entry.flags, entry.msgid
        assert all(placeholders(text) == placeholders(entry.msgid) for text in given), entry.msgid


def test_no_text_is_missing_in_the_file(tmp_path):
    """Extracted anew, there is nothing that the committed file does not have."""
    if not shutil.which("xgettext"):
        pytest.skip("no xgettext")
    copy = tmp_path / "learning_platform"
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "django", "makemessages", "-l", "de", "--no-location"]
    subprocess.run([*command, "--no-obsolete"], cwd=copy, check=True, capture_output=True)
    new = polib.pofile(str(copy / GERMAN.relative_to(HERE)))
    known = {(entry.msgctxt, entry.msgid) for entry in polib.pofile(str(GERMAN))}
    assert {(entry.msgctxt, entry.msgid) for entry in new} == known


def test_the_language_can_be_changed(school):
    give(school.sam, "camera")  # so that the script is there
    client = school.client(school.sam)
    assert "How are you doing?" in client.get(school.lesson.get_absolute_url()).content.decode()
    client.post("/language/", {"language": "de", "next": "/"})
    page = client.get(school.lesson.get_absolute_url()).content.decode()
    assert "Wie geht es dir?" in page and '<html lang="de">' in page
    assert '"sad": "traurig"' in page  # what the panel says
    assert (
        'lang="de"'
        in school.client(None).get("/", follow=True, HTTP_ACCEPT_LANGUAGE="de").content.decode()
    )


def test_texts_are_compiled_anew_when_they_change(tmp_path):
    source = tmp_path / "source" / "de" / "LC_MESSAGES" / "django.po"
    source.parent.mkdir(parents=True)
    shutil.copy(GERMAN, source)
    first = translations.compiled(tmp_path / "source", tmp_path / "cache")
    source.write_text(source.read_text().replace("Wie geht es dir?", "Na?"))
    second = translations.compiled(tmp_path / "source", tmp_path / "cache")
    assert first != second
    assert b"Na?" in (second / "de/LC_MESSAGES/django.mo").read_bytes()
