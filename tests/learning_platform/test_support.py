"""When a message of support appears, which, and who is told."""

from datetime import timedelta

import pytest

from learning_platform.emotions import visits
from learning_platform.emotions.models import SupportEvent
from learning_platform.people.consent import give
from tests.learning_platform.model_folder import probabilities
from tests.learning_platform.test_readings import START


@pytest.fixture
def messages(school):
    """messages(labels) -> which message came with each reading, one a second."""
    _, visit = school.visit(school.sam, school.lesson)
    sent = 0

    def run(labels):
        nonlocal sent
        shown = []
        for label in labels:
            sent += 1
            reading = visits.Reading(visit, school.sam.pk, sent, label and probabilities(label))
            shown.append(visits.apply([reading], START + timedelta(seconds=sent))[0].message)
        return shown

    return run


@pytest.mark.parametrize("label", ["sad", "angry", "fear"])
def test_after_ten_readings_in_a_row(messages, label):
    shown = messages([label] * 10)
    assert shown[:9] == [""] * 9 and shown[9]


def test_others_are_left_in_peace(messages, school):
    assert not any(messages(["happy", "neutral"] * 3 + ["surprise"] * 15))
    school.course.watched = ["surprise"]
    school.course.save()
    assert any(messages(["surprise"] * 10))


def test_the_row_must_be_whole(messages):
    """Another emotion, or no face, begins it anew."""
    assert not any(messages(["sad"] * 9 + ["angry"] + ["sad"] * 9 + [None] + ["sad"] * 9))
    assert messages(["sad"])[0]


def test_ten_seconds_between_messages_and_never_the_same_twice(messages):
    shown = messages(["sad"] * 200)
    times = [i for i, text in enumerate(shown) if text]
    assert times == list(range(9, 200, 10))
    texts = [text for text in shown if text]
    assert all(a != b for a, b in zip(texts, texts[1:], strict=False))
    assert len(set(texts)) == 4


def test_a_single_message_is_not_repeated(messages, school):
    school.course.support_messages.all().delete()
    school.course.support_messages.create(text="You can do it.")
    assert [text for text in messages(["sad"] * 40) if text] == ["You can do it."]


def test_messages_for_an_emotion_and_messages_in_use(messages, school):
    school.course.support_messages.all().delete()
    school.course.support_messages.create(text="For anger.", emotion="angry")
    school.course.support_messages.create(text="Not in use.", active=False)
    assert not any(messages(["sad"] * 15))
    assert set(messages(["angry"] * 10)) == {"", "For anger."}


def test_tutors_are_told_only_where_the_student_agreed(messages, school):
    client = school.client(school.tutor)
    notes = f"/tutor/courses/{school.course.pk}/notes/"
    first = messages(["sad"] * 10)[-1]
    assert "Sam" not in client.get(notes).content.decode()
    give(school.sam, "tutor")
    second = messages(["sad"] * 10)[-1]
    page = client.get(notes).content.decode()
    assert "Sam" in page and second in page and first not in page
    assert SupportEvent.objects.filter(for_tutor=True).count() == 1
    assert "Sam" not in school.client(school.other_tutor).get(notes).content.decode()
