"""A school's worth of students post a reading a second: is one lost, and how long do they wait?

python -m benchmarks.learning_platform --out=benchmarks/results/learning_platform_cpu.json

The platform runs as its users start it, with SQLite, in processes of its own. 500 students, each on
a connection of its own, post a reading a second for 60 seconds, spread over the second. A post that
is due while the one before it is still under way waits, and this wait counts: a latency is the time
from when the reading was due to its answer. Afterwards the database is read: every student must
have exactly as many readings as were acknowledged.

Then the same for 20 seconds, and after 10 of them the platform and its workers are killed with
SIGKILL: every acknowledged reading must be there. Exit code 1 where one is lost.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60  # until the platform answers


class Student(NamedTuple):
    """What a browser would know: the visit, its token, and the cookies' values."""

    visit: int
    visit_token: str
    session: str
    csrf: str


class Sent(NamedTuple):
    """acknowledged: the highest number that was; latencies: seconds; errors: answers but 200."""

    acknowledged: int
    latencies: list[float]
    errors: list[str]


def make_school(count: int) -> list[Student]:
    """Students with consent in one course, logged in, each with a lesson open."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.db import connections, transaction
    from django.middleware.csrf import _get_new_csrf_string

    from learning_platform.courses.models import Course, Enrolment, Lesson, Module
    from learning_platform.emotions.models import Visit
    from learning_platform.emotions.visits import token
    from learning_platform.people.models import Consent, User

    store = import_module(settings.SESSION_ENGINE).SessionStore
    with transaction.atomic():
        course = Course.objects.create(title="Load")
        module = Module.objects.create(course=course, title="Load")
        lesson = Lesson.objects.create(module=module, title="Load")
        students = []
        group = secrets.token_hex(4)
        for i in range(count):
            user = User.objects.create_user(f"{group}-{i}@example.org", None, name=f"Student {i}")
            Enrolment.objects.create(course=course, student=user)
            Consent.objects.create(student=user, kind=Consent.Kind.CAMERA)
            visit = Visit.objects.create(student=user, lesson=lesson)
            session = store()
            session[SESSION_KEY] = str(user.pk)
            session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
            session[HASH_SESSION_KEY] = user.get_session_auth_hash()
            session.create()
            csrf = _get_new_csrf_string()
            students.append(Student(visit.pk, token(visit), session.session_key, csrf))
    connections.close_all()
    return students


def start(model: str, folder: Path) -> tuple[subprocess.Popen, int]:
    """The platform in a process group of its own, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "learning_platform", f"--model={model}", f"--port={port}"]
    command += [f"--data={folder}", "--no-demo"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Each of its processes takes a while to load.
            for _ in range(20):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/privacy/", timeout=20).close()
            return process, port
        except OSError:
            time.sleep(0.1)
    kill(process)
    raise SystemExit("the platform did not start")


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to it and its workers."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_seconds(process: subprocess.Popen) -> float:
    """What the platform's processes used so far, user and system."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == process.pid:  # its process group
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def request_bytes(student: Student, sequence: int, classes: list[str]) -> bytes:
    odds = np.random.default_rng([student.visit, sequence]).random(len(classes)) + 1e-3
    probabilities = dict(zip(classes, (odds / odds.sum()).tolist(), strict=True))
    body = json.dumps({"sequence": sequence, "probabilities": probabilities})
    head = (
        f"POST /visits/{student.visit}/readings/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Cookie: sessionid={student.session}; csrftoken={student.csrf}\r\n"
        f"X-CSRFToken: {student.csrf}\r\nX-Visit-Token: {student.visit_token}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


async def exchange(reader, writer, data: bytes) -> int:
    """Sends a request over an open connection and reads the answer. -> status"""
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return int(head[9:12])


async def post_all(student: Student, port: int, requests: list[bytes], begin: float) -> Sent:
    """Posts one request a second from `begin` (of the loop's clock) on, until the server is gone.

    A student whose connection fails stops: what follows was never acknowledged.
    """
    loop, latencies, errors, done = asyncio.get_running_loop(), [], [], 0
    await asyncio.sleep(begin - loop.time())
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i, data in enumerate(requests):
            await asyncio.sleep(max(0.0, begin + i - loop.time()))
            status = await exchange(reader, writer, data)
            latencies.append(loop.time() - (begin + i))
            if status != 200:
                errors.append(f"status {status}")
                break
            done = i + 1
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        errors.append(repr(error))
    return Sent(done, latencies, errors)


async def load(students, port: int, requests, killing=None) -> list[Sent]:
    """All students at once; killing: (seconds, process) ends the platform in the middle."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + 1.0
    if killing:
        seconds, process = killing
        loop.call_at(begin + seconds, kill, process)
    count = len(students)
    jobs = [
        post_all(student, port, requests[i], begin + i / count)
        for i, student in enumerate(students)
    ]
    return await asyncio.gather(*jobs)


def stored(students: list[Student]) -> list[tuple[int, int, int]]:
    """Of each student: the last number, the readings counted, and those in records and the rest."""
    from django.db import connections
    from django.db.models import F, Sum

    from learning_platform.emotions.models import EmotionRecord, Visit

    ids = [student.visit for student in students]
    visits = Visit.objects.in_bulk(ids)
    records = EmotionRecord.objects.filter(visit__in=ids).values("visit")
    kept = dict(records.values_list("visit").annotate(n=Sum(F("seen") + F("absent"))))
    rows = [visits[pk] for pk in ids]
    connections.close_all()
    return [
        (v.last_sequence, v.readings, kept.get(v.pk, 0) + v.window_seen + v.window_absent)
        for v in rows
    ]


def compare(sent: list[Sent], rows: list[tuple[int, int, int]], crashed: bool) -> int:
    """How many acknowledged readings are missing or counted wrongly.

    After a crash a reading may be stored whose answer did not arrive any more.
    """
    lost = 0
    for one, (last, readings, in_records) in zip(sent, rows, strict=True):
        surplus = last - one.acknowledged
        if not last == readings == in_records or surplus < 0 or surplus > (1 if crashed else 0):
            lost += max(1, one.acknowledged - min(last, readings, in_records))
    return lost


def measure(model: str, classes: list[str], count: int, seconds: int, kill_after: int) -> dict:
    """A fresh database, students, load; kill_after: seconds, or 0 to leave the platform alone."""
    students = make_school(count)
    requests = [
        [request_bytes(student, sequence, classes) for sequence in range(1, seconds + 1)]
        for student in students
    ]
    process, port = start(model, Path(os.environ["LEARNING_PLATFORM_DATA"]))
    try:
        killing = (kill_after, process) if kill_after else None
        before, own = cpu_seconds(process), time.process_time()
        sent = asyncio.run(load(students, port, requests, killing))
        used, own = cpu_seconds(process) - before, time.process_time() - own
    finally:
        kill(process)
    latencies = np.array([value for one in sent for value in one.latencies])
    percentiles = np.percentile(latencies, [50, 95, 99, 100]) * 1000
    errors = [error for one in sent for error in one.errors]
    return {
        "students": count,
        "seconds": seconds,
        "acknowledged": sum(one.acknowledged for one in sent),
        "expected": None if kill_after else count * seconds,
        "stored": sum(readings for _, readings, _ in stored(students)),
        "lost": compare(sent, stored(students), bool(kill_after)),
        "errors": [] if kill_after else sorted(set(errors)),
        "killed_after_s": kill_after or None,
        "platform_cpu_s": None if kill_after else round(used, 1),
        "clients_cpu_s": round(own, 1),
        "load_average_1_min": round(os.getloadavg()[0], 1),
        **{
            f"{name}_ms": round(float(value), 1)
            for name, value in zip(("p50", "p95", "p99", "max"), percentiles, strict=True)
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="zoo/fer")
    parser.add_argument("--students", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    classes = json.loads((Path(args.model) / "model.json").read_text())["classes"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="learning_platform.settings",
            LEARNING_PLATFORM_DATA=folder,
            LEARNING_PLATFORM_MODEL=args.model,
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        whole = measure(args.model, classes, args.students, args.seconds, 0)
        print(whole)
        killed = measure(args.model, classes, args.students, 20, 10)
        print(killed)
    if args.out:
        from benchmarks.timing import machine, write_result

        write_result(args.out, {"machine": machine(), "load": whole, "killed": killed})
    complete = whole["acknowledged"] == whole["expected"]
    return 0 if complete and whole["lost"] == killed["lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
