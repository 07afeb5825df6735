"""What a sweep refuses, each in one line, before its first trial; and what a range may be."""

import pytest

from configs import rat
from jaxvision.config.check import check
from jaxvision.sweep import __main__ as program
from jaxvision.sweep import space
from tests.sweep import fakes

RATE = "--search.optimizer.learning_rate"


@pytest.fixture
def refused(monkeypatch, capfd, tmp_path):
    """refused(words, *arguments): checks that a sweep is, and leaves no folder."""
    fakes.use_fakes(monkeypatch)

    def check_refused(words, *arguments):
        code, _, lines = fakes.sweep(capfd, tmp_path / "sweep", *arguments)
        assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
        for word in words:
            assert word in lines[0], lines[0]
        assert not (tmp_path / "sweep").exists()

    return check_refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["nothing to search"]),
        (("--search.optimizer.learning_rat=log:1e-4:1",), ["did you mean optimizer.learning_rate"]),
        ((f"{RATE}=lgo:1e-4:1",), ["lgo:1e-4:1", "choice:a,b"]),
        ((f"{RATE}=log:0:1",), ["above 0"]),
        ((f"{RATE}=log:1:1e-4",), ["low end"]),
        ((f"{RATE}=log:a:1",), ["'a:1'"]),
        ((f"{RATE}=log:1e-4",), ["log:low:high"]),
        ((f"{RATE}=float:0:1e7",), ["10000000.0", "cannot be"]),
        ((f"{RATE}=log:1e-4:1", f"{RATE}=log:1e-4:1"), ["twice"]),
        ((f"{RATE}=log:1e-4:1", "--config.optimizer.learning_rate=1"), ["both set"]),
        (("--search.batch_size=float:1:2",), ["whole number", "int:low:high"]),
        (("--search.batch_size=int:0:2",), ["batch_size=0", "at least 1"]),
        (("--search.batch_size=choice:8,many",), ["'many'"]),
        (("--search.model.name=choice:heatmap,resnet",), ["resnet", "'coordinate'"]),
        (("--search.model.name=float:0:1",), ["choice:a,b"]),
        (("--search.model.widths=choice:(8,8),(8,8,8)",), ["(8, 8)", "3"]),
        (("--search.model.widths=choice:(8,8",), ["cannot be"]),
        (("--search.augment.flip=choice:True,maybe",), ["maybe", "True or False"]),
        (("--search.checkpoint.best_metric=choice:a,b",), ["compared by it"]),
        ((f"{RATE}=log:1e-4:1", "--config.batch_sise=4"), ["batch_sise"]),
        ((f"{RATE}=log:1e-4:1", "--config.checkpoint.best_metric="), ["best_metric is empty"]),
        ((f"{RATE}=log:1e-4:1", "--trials=-1"), ["--trials=-1"]),
        ((f"{RATE}=log:1e-4:1", "--trials=many"), ["many"]),
        ((f"{RATE}=log:1e-4:1", "--prune=often"), ["often"]),
        ((f"{RATE}=log:1e-4:1", "--nonsense=1"), ["nonsense"]),
        ((f"{RATE}=log:1e-4:1", "--trials", "3"), ["--name=value"]),
        (("--search.seed=int:0:9", "--seeds=2"), ["--search.seed"]),
    ],
)
def test_a_mistake_is_one_line(refused, arguments, words):
    refused(words, *arguments)


def test_config_and_workdir_must_be_given(capfd):
    for arguments, word in (([RATE + "=log:1:2"], "--workdir"), (["--workdir=w"], "--config")):
        assert program.main(arguments) == 2
        assert word in capfd.readouterr().err


def test_help_shows_the_ranges(capfd):
    assert program.main(["--help"]) == 0
    assert "--search.FIELD=RANGE" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("field", "spec", "own"),
    [
        ("optimizer.learning_rate", "log:1e-4:1e-2", 0.003),
        ("batch_size", "log:8:64", 32),
        ("batch_size", "int:16:64:16", 32),
        ("augment.rotation", "int:0:180", 180.0),
        ("augment.flip", "choice:true,False", True),
        ("model.widths", "grid:(16,32,48),(8, 8, 8)", "(16, 32, 48)"),
        ("data.resident", "choice:auto,false", "auto"),
        ("heading.base", "choice:(),('tail',)", "()"),
        ("film.path", "choice:,film.mp4", ""),
    ],
)
def test_what_is_searched_becomes_a_config(field, spec, own):
    config = rat.get_config()
    searched = space.parse({field: spec}, config)
    assert searched.own == {field: own}
    distribution = searched.distributions[field]
    ends = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
    for value in ends:
        check(space.with_params(config, {field: value}))
    assert space.check_combinations(searched, config) == ""


def test_commas_in_brackets_are_no_commas_between_values():
    searched = space.parse({"model.widths": "choice:(1,2,3),[4,5,6]"}, rat.get_config())
    assert searched.distributions["model.widths"].choices == ("(1, 2, 3)", "(4, 5, 6)")
