"""The study: what was tried, what is being tried and by whom; in a journal file or a database."""

import fcntl
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from jaxvision.errors import UserError
from jaxvision.sweep.runners import Runner
from jaxvision.sweep.sampler import Sampler, make_pruner, suggest
from jaxvision.sweep.space import Space

JOURNAL = "study.journal"
LOCK_LEFT = 10  # seconds after which the lock of the journal is from a runner that was killed
SETTLING = 3.0  # seconds in which two hosts that take the same trial see each other
_IDENTITY = "sweep"
OWNER, PASSED_OVER = "runner", "passed over"  # keys of what a trial is noted with


def quiet() -> None:
    """Optuna says nothing by itself."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sqlalchemy").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")


def open_study(
    folder: Path, address: str, direction: str, space: Space, seed: int, pruner: str
) -> optuna.Study:
    """The study of a folder, begun where there is none.

    Args:
      folder: of the sweep; its name is the study's in a database.
      address: of the database, as 'postgresql://...'; '': the journal file in the folder.
      direction: 'minimize' or 'maximize'.
      space, seed: what the values of a trial follow from.
      pruner: of `make_pruner`.

    Raises:
      UserError: the database cannot be reached, or the folder not written.
    """
    quiet()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to workdir {str(folder)!r}: {error.strerror}") from error
    journal = folder / JOURNAL
    try:
        storage = RDBStorage(address) if address else _open_journal(journal)
        return optuna.create_study(
            storage=storage,
            # A folder may be renamed; in a database there may be other sweeps.
            study_name=folder.resolve().name if address else "sweep",
            direction=direction,
            sampler=Sampler(space, seed),
            pruner=make_pruner(pruner),
            load_if_exists=True,
        )
    except Exception as error:  # of whatever the database's driver raises
        told = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(f"cannot open the study in {address or journal}: {told}") from error


def _open_journal(path: Path) -> JournalStorage:
    # Not flock, which some shared file systems have for each host alone.
    lock = JournalFileOpenLock(str(path), grace_period=LOCK_LEFT)
    if path.exists():
        lock.acquire()
        try:
            _end_last_line(path)
        finally:
            lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock))


def _end_last_line(path: Path) -> None:
    """Takes away a line that a kill or a full disk cut short, after which nothing could be read."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with open(path, "rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)


def is_begun(study: optuna.Study) -> bool:
    """Whether a command of this study came as far as its trials."""
    return _IDENTITY in study.user_attrs


def check_identity(study: optuna.Study, identity: dict[str, Any]) -> None:
    """Checks that a study is this command's.

    Args:
      study: a new one is given the identity.
      identity: {'config.train.steps': value, 'search....': ..., ...}.

    Raises:
      UserError: it is of another config, search or number of seeds.
    """
    identity = json.loads(json.dumps(identity))
    before = study.user_attrs.get(_IDENTITY)
    if before is None:
        study.set_user_attr(_IDENTITY, identity)
        return
    names = sorted(before.keys() | identity.keys())
    differing = [
        f"{name}: {before.get(name, 'absent')!r} then, {identity.get(name, 'absent')!r} now"
        for name in names
        if before.get(name, "absent") != identity.get(name, "absent")
    ]
    if differing:
        raise UserError(
            f"the sweep {study.study_name!r} was begun with another config or search "
            f"({'; '.join(differing[:4])}): use these values, or another --workdir"
        )


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, without those whose values could not be together."""
    return [t for t in study.get_trials(deepcopy=False) if PASSED_OVER not in t.user_attrs]


def ask(study: optuna.Study, runner: Runner, space: Space) -> tuple[optuna.Trial, dict[str, Any]]:
    """A new trial of this runner and its values."""
    trial = study.ask()
    trial.set_user_attr(OWNER, runner.name)
    return trial, suggest(trial, space)


def take_over(study: optuna.Study, runner: Runner, found: FrozenTrial) -> optuna.Trial | None:
    """A trial that nobody alive works on becomes this runner's; None: another took it."""
    with open(runner.folder / "taking", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = find(study, found.number)
        owner = found.user_attrs.get(OWNER)
        if now.state != TrialState.RUNNING or now.user_attrs.get(OWNER) != owner:
            return None
        trial = optuna.Trial(study, found._trial_id)
        trial.set_user_attr(OWNER, runner.name)
        if not runner.is_alone():  # hosts may share no locks: the last one that said so has it
            time.sleep(SETTLING)
    return trial if find(study, found.number).user_attrs[OWNER] == runner.name else None


def find(study: optuna.Study, number: int) -> FrozenTrial:
    """A trial as it is now."""
    return next(t for t in study.get_trials(deepcopy=False) if t.number == number)
