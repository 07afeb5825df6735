"""Readings, one a second, become records of 20 seconds; none is lost, none counts twice."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from learning_platform.emotions import visits, writer
from learning_platform.emotions.models import EmotionRecord, Visit
from learning_platform.people.consent import revoke
from tests.learning_platform.model_folder import probabilities
from tests.learning_platform.school import post_reading

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def send(visit: int, student, labels: list[str | None], first: int = 1, start=START):
    """A reading a second, each in a transaction of its own."""
    for i, label in enumerate(labels):
        given = label and probabilities(label)
        reading = visits.Reading(visit, student.pk, first + i, given)
        assert visits.apply([reading], start + timedelta(seconds=i))[0].accepted


def test_a_record_every_twenty_seconds(school):
    _, visit = school.visit(school.sam, school.lesson)
    send(visit, school.sam, ["happy"] * 15 + ["sad"] * 4 + [None] * 2 + ["sad"] * 30)
    first, second = EmotionRecord.objects.all()
    assert (first.student, first.module, first.lesson) == (
        school.sam,
        school.module,
        school.lesson,
    )
    assert (first.label, first.seen, first.absent, first.seconds) == ("happy", 19, 2, 20)
    assert first.probabilities["happy"] == pytest.approx((15 * 0.7 + 4 * 0.05) / 19, abs=1e-4)
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert (second.label, second.seen, second.absent) == ("sad", 21, 0)
    assert second.time - first.time == timedelta(seconds=21)
    assert Visit.objects.get().readings == 51


def test_the_rest_becomes_a_record_when_the_camera_goes_off(school):
    client, visit = school.visit(school.sam, school.lesson)
    for sequence in range(1, 4):
        assert post_reading(client, visit, sequence, "happy").status_code == 200
    assert client.post(f"/visits/{visit}/end/").status_code == 204
    record = EmotionRecord.objects.get()
    assert (record.seen, record.label) == (3, "happy")
    assert Visit.objects.get().sums == {}
    assert post_reading(client, visit, 4, "happy").status_code == 404
    client.post(f"/visits/{visit}/end/")
    assert EmotionRecord.objects.count() == 1


def test_a_reading_sent_twice_counts_once(school):
    client, visit = school.visit(school.sam, school.lesson)
    for sequence in (1, 1, 2, 1, 2, 3):
        assert post_reading(client, visit, sequence, "happy").status_code == 200
    assert (Visit.objects.get().readings, Visit.objects.get().window_seen) == (3, 3)


def test_no_reading_without_consent(school):
    client = school.client(school.sam)
    assert client.post(f"/lessons/{school.lesson.pk}/visits/").status_code == 403
    client, visit = school.visit(school.sam, school.lesson)
    assert post_reading(client, visit, 1, "happy").status_code == 200
    revoke(school.sam, "camera")
    assert post_reading(client, visit, 2, "happy").status_code == 404
    assert client.post(f"/lessons/{school.lesson.pk}/visits/").status_code == 403


WRONG = [
    "",
    "[]",
    '{"sequence": 1}',
    '{"sequence": 0, "probabilities": null}',
    '{"sequence": true, "probabilities": null}',
    '{"sequence": 1, "probabilities": null, "frame": "..."}',
    '{"sequence": 1, "probabilities": {"happy": 1}}',
    json.dumps({"sequence": 1, "probabilities": probabilities("happy", 2.0)}),
    json.dumps({"sequence": 1, "probabilities": dict.fromkeys(probabilities("sad"), 0.9)}),
    json.dumps({"sequence": 1, "probabilities": {**probabilities("sad"), "sad": "0.7"}}),
    json.dumps({"sequence": 1, "probabilities": {**probabilities("sad"), "sad": float("nan")}}),
    json.dumps({"sequence": 1, "probabilities": {"x" * 5000: 1.0}}),
]


@pytest.mark.parametrize("body", WRONG)
def test_what_is_no_reading_is_refused(school, body):
    client, visit = school.visit(school.sam, school.lesson)
    answer = client.post(f"/visits/{visit}/readings/", body, content_type="application/json")
    assert answer.status_code == 400
    assert Visit.objects.get().readings == 0


def test_readings_of_many_at_once_are_all_stored(school):
    """40 threads at once share the writer; each answer comes after the commit that holds it."""
    ids = [
        Visit.objects.create(student=student, lesson=school.lesson).pk
        for student in [school.sam, school.sue] * 20
    ]
    students = [school.sam.pk, school.sue.pk] * 20
    answers = []

    def visit(pk, student):
        for sequence in range(1, 6):
            reading = visits.Reading(pk, student, sequence, probabilities("happy"))
            answers.append(writer.store(reading).accepted)

    threads = [
        threading.Thread(target=visit, args=pair) for pair in zip(ids, students, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 200
    assert set(Visit.objects.values_list("last_sequence", "readings", "window_seen")) == {(5, 5, 5)}


def test_what_could_not_be_stored_is_not_acknowledged(school, monkeypatch):
    client, visit = school.visit(school.sam, school.lesson)
    with monkeypatch.context() as broken:

        def fail(*args):
            raise OSError("disk full")

        broken.setattr(visits, "_save", fail)
        assert post_reading(client, visit, 1, "happy").status_code == 503
    assert Visit.objects.get().readings == 0
    assert post_reading(client, visit, 1, "happy").status_code == 200
    assert Visit.objects.get().readings == 1


def test_opening_another_lesson_ends_the_visit(school):
    client, visit = school.visit(school.sam, school.lesson)
    post_reading(client, visit, 1, "sad")
    client.post(f"/lessons/{school.lesson.pk}/visits/")
    assert Visit.objects.get(pk=visit).ended_at is not None
    assert EmotionRecord.objects.get().label == "sad"
