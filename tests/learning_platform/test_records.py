"""What is shown of the records, to whom, and that deleted means gone."""

import csv
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from learning_platform.courses.models import Enrolment
from learning_platform.emotions import visits
from learning_platform.emotions.models import EmotionRecord, SupportEvent, Visit
from learning_platform.people.models import AuditEntry, User
from tests.learning_platform.model_folder import probabilities
from tests.learning_platform.school import post_reading


def record(student, lesson, label="sad", age=timedelta(0), **fields) -> EmotionRecord:
    given = {"seconds": 20.0, "seen": 20, "absent": 0, "probabilities": probabilities(label)}
    given |= {"label": label, "time": timezone.now() - age, **fields}
    return EmotionRecord.objects.create(
        student=student, module=lesson.module, lesson=lesson, **given
    )


def page_of(school, student) -> str:
    path = f"/tutor/modules/{school.module.pk}/students/{student.pk}/"
    return school.client(school.tutor).get(path).content.decode()


def text_between(page: str, start: str, end: str) -> str:
    return page[page.index(start) : page.index(end, page.index(start))]


def test_tutor_sees_timeline_shares_and_the_most_frequent(school):
    for label in ("sad", "happy", "sad"):
        record(school.sam, school.lesson, label)
    page = page_of(school, school.sam)
    assert "The most frequent emotion: <strong>sad</strong>" in page
    assert text_between(page, "Over time", "</svg>").count("<g>") == 3
    assert "66.7 %" in page and "33.3 %" in page
    assert "1.0 minutes" in page


def test_when_attention_was_lost(school):
    visit = Visit.objects.create(
        student=school.sam,
        lesson=school.lesson,
        started_at=timezone.now() - timedelta(seconds=185),
    )
    for age, absent in ((140, 0), (120, 15), (100, 20), (80, 2)):
        record(
            school.sam,
            school.lesson,
            age=timedelta(seconds=age),
            seen=20 - absent,
            absent=absent,
            visit=visit,
        )
    lost = text_between(page_of(school, school.sam), "When attention was lost", "</ul>")
    assert "0:45 after the start, for 40 seconds" in lost and lost.count("<li>") == 1


def test_the_group_is_shown_from_five_students_on(school):
    """Fewer, and a tutor could tell one from the others' mean."""
    record(school.sam, school.lesson, "sad")
    others = [school.sue]
    for i in range(3):
        student = User.objects.create_user(f"s{i}@example.org", None, name=f"S{i}")
        Enrolment.objects.create(course=school.course, student=student)
        others.append(student)
    for student in others[:3]:
        record(student, school.lesson, "happy")
    assert "from five students on" in page_of(school, school.sam)
    assert "groupbar" not in page_of(school, school.sam)
    record(others[3], school.lesson, "happy")
    page = page_of(school, school.sam)
    assert "from five students on" not in page and "groupbar" in page
    # sad: .70 of sam's, and (.70 + 4 * .05) / 5 = .18 of the group's.
    row = text_between(page, "</span>sad</th>", "</tr>")
    assert "70.0 %" in row and "18.0 %" in row and "+52.0" in row


def test_every_look_is_in_the_audit_trail(school):
    record(school.sam, school.lesson)
    client = school.client(school.tutor)
    path = f"/tutor/modules/{school.module.pk}/students/{school.sam.pk}/"
    client.get(path)
    client.get(path + "emotions.csv")
    trail = AuditEntry.objects.values_list("actor_email", "student_email", "action")
    assert sorted(trail) == [
        ("tutor@example.org", "sam@example.org", "exported"),
        ("tutor@example.org", "sam@example.org", "viewed"),
    ]
    seen = school.client(school.sam).get("/history/").content.decode()
    assert seen.count("tutor@example.org") == 2  # the student sees who looked
    school.client(school.other_tutor).get(path)
    assert AuditEntry.objects.count() == 2
    school.tutor.delete()
    assert AuditEntry.objects.filter(actor_email="tutor@example.org").count() == 2


def rows(response) -> list[list[str]]:
    return list(csv.reader(response.content.decode().splitlines()))


def test_csv(school):
    record(school.sam, school.lesson, "sad")
    record(school.sue, school.lesson, "happy")
    record(school.sam, school.lesson, "", probabilities={}, seen=0, absent=20)
    head, first, second = rows(school.client(school.sam).get("/history/emotions.csv"))
    assert first[head.index("label")] == "sad" and first[head.index("sad")] == "0.7"
    assert second[head.index("label")] == "" and second[head.index("sad")] == ""
    path = f"/tutor/modules/{school.module.pk}/students/{school.sue.pk}/emotions.csv"
    head, only = rows(school.client(school.tutor).get(path))
    assert only[:2] == ["Sue", "sue@example.org"] and only[head.index("label")] == "happy"


def test_csv_holds_no_formula(school):
    school.sam.name = "=HYPERLINK(1)"
    school.sam.save()
    record(school.sam, school.lesson)
    path = f"/tutor/modules/{school.module.pk}/students/{school.sam.pk}/emotions.csv"
    assert rows(school.client(school.tutor).get(path))[1][0] == "'=HYPERLINK(1)"


def bytes_of(database) -> bytes:
    """The database as it lies on the disk, with its log."""
    files = database.parent.glob(database.name + "*")
    return b"".join(file.read_bytes() for file in files)


def test_deleted_is_gone_from_the_disk(school, database):
    """A probability that occurs nowhere else is looked for in the files' bytes."""
    client, visit = school.visit(school.sam, school.lesson)
    for sequence in range(1, 11):
        post_reading(client, visit, sequence, "sad", p=0.713579)
    record(school.sam, school.lesson, probabilities={"sad": 0.864213})
    record(school.sue, school.lesson, probabilities={"sad": 0.531246})
    kept = bytes_of(database)
    assert b"7.13579" in kept and b"0.864213" in kept
    assert SupportEvent.objects.count() == 1
    assert client.post("/history/delete/").url == "/history/"
    left = bytes_of(database)
    assert b"7.13579" not in left and b"0.864213" not in left and b"0.531246" in left
    for model in (EmotionRecord, Visit, SupportEvent):
        assert not model.objects.filter(student=school.sam).exists()
    assert post_reading(client, visit, 11, "sad").status_code == 404


def test_old_records_are_purged(school, capsys):
    days = timedelta(days=181), timedelta(days=179)
    for age in days:
        record(school.sam, school.lesson, age=age)
        Visit.objects.create(
            student=school.sam, lesson=school.lesson, started_at=timezone.now() - age
        )
    call_command("purge_records")
    assert "1 records deleted" in capsys.readouterr().out
    assert EmotionRecord.objects.count() == Visit.objects.count() == 1
    call_command("purge_records", "--days=30")
    assert not EmotionRecord.objects.exists() and not Visit.objects.exists()


def test_who_leaves_a_course_is_no_longer_seen_by_its_tutor(school):
    record(school.sam, school.lesson)
    Enrolment.objects.filter(student=school.sam).delete()
    path = f"/tutor/modules/{school.module.pk}/students/{school.sam.pk}/"
    assert school.client(school.tutor).get(path).status_code == 404
    assert "Sam" in school.client(school.sam).get("/history/").content.decode()


def test_records_of_a_former_model_stay_readable(school):
    record(school.sam, school.lesson, "contempt", probabilities={"contempt": 0.9, "sad": 0.1})
    assert "contempt" in page_of(school, school.sam)
    assert "contempt" in school.client(school.sam).get("/history/").content.decode()


@pytest.mark.parametrize("count", [0, 1, 300])
def test_timeline_of_any_length(school, count):
    from learning_platform.emotions import charts

    records = [record(school.sam, school.lesson, time=timezone.now()) for _ in range(min(count, 3))]
    drawn = charts.timeline(records * (count // 3 or 1), ["sad", "happy"])
    assert len(drawn["columns"]) <= charts.MOST
    assert all(column["x"] < drawn["width"] for column in drawn["columns"])


def test_visits_end_at_once_for_all(school):
    _, visit = school.visit(school.sam, school.lesson)
    visits.end_all(school.sam, timezone.now())
    assert Visit.objects.get(pk=visit).ended_at
