"""Large pages: a program starts again with them, once, with its own arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxvision import large_pages

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, sys
from jaxvision import large_pages
large_pages.start_again()
print(os.environ.get("GLIBC_TUNABLES", ""), sys.argv[1:], sys.flags.optimize)
"""


def run(tmp_path, **environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    inherited = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-O", str(script), "--a=b c"],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(not large_pages.available(), reason="no glibc 2.35 or no large pages here")
@pytest.mark.parametrize(
    "environment, tunables",
    [
        ({}, large_pages.TUNABLE),
        ({large_pages.OFF: "0"}, ""),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
            f"glibc.malloc.arena_max=4:{large_pages.TUNABLE}",
        ),
    ],
)
def test_a_program_starts_again_with_large_pages(tmp_path, environment, tunables):
    assert run(tmp_path, **environment) == f"{tunables} ['--a=b c'] 1".strip()


@pytest.mark.parametrize("library", ["glibc 2.34", "musl", None])
def test_other_libraries_stay_as_they_are(monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert not large_pages.available()
