"""The study in TensorBoard's HParams; needs tensorboard, of the extra [tf], and no TensorFlow."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from jaxvision.console import say

SUFFIX = ".sweep"  # of the event files that are written here
_told: set[str] = set()


def write(
    folder: Path,
    table: Sequence[dict[str, Any]],
    distributions: dict[str, BaseDistribution],
    metric: str,
) -> None:
    """What is searched, once; and of each trial that has ended its values and score, once.

    Nothing but one line where tensorboard is missing.

    Args:
      folder: the sweep's, for `tensorboard --logdir`.
      table: of `jaxvision.sweep.table.rows`.
      distributions: of the fields.
      metric: the name of the score.
    """
    try:
        # Not its `api`, which imports Keras wherever that is installed.
        from tensorboard.plugins.hparams import summary_v2 as api
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    except ImportError:
        if "missing" not in _told:
            _told.add("missing")
            say('HParams are off (trials.csv is written): pip install -e ".[tf]" turns them on')
        return
    tag = f"sweep/{metric}"
    if not _written(folder):
        fields = [api.HParam(name, _domain(api, d)) for name, d in distributions.items()]
        _write_events(
            folder, [api.hparams_config_pb(fields, [api.Metric(tag, display_name=metric)])]
        )
    for row in table:
        # A trial of another host may have its folder there.
        trial = Path(row["workdir"])
        if row["state"] in ("running", "failed") or not trial.is_dir() or _written(trial):
            continue
        values = {name: row[name] for name in distributions}
        events = [api.hparams_pb(values, trial_id=f"trial {row['trial']}")]
        if row["value"] is not None:
            events.append(scalar_pb(tag, row["value"]))
        _write_events(trial, events)


def _written(folder: Path) -> bool:
    return any(folder.glob(f"events.out.tfevents.*{SUFFIX}"))


def _domain(api: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        kinds = {type(choice) for choice in distribution.choices}
        return api.Discrete(distribution.choices) if len(kinds) == 1 else None
    interval = api.IntInterval if isinstance(distribution.low, int) else api.RealInterval
    return interval(distribution.low, distribution.high)


def _write_events(folder: Path, summaries: Sequence[Any]) -> None:
    # Not tensorboard's EventFileWriter: it imports TensorFlow wherever that is installed.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    path = folder / f"events.out.tfevents.{now:.0f}{SUFFIX}"
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        events = [Event(wall_time=now, file_version="brain.Event:2")]
        events += [Event(wall_time=now, step=0, summary=summary) for summary in summaries]
        for event in events:
            writer.write(event.SerializeToString())
