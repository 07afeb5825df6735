"""Lines on the console: what a run says while it works."""

from collections.abc import Sequence

_muted = False


def mute() -> None:
    """`say` says nothing any more: of several processes one talks."""
    global _muted
    _muted = True


def say(line: str) -> None:
    """One line to the console, now."""
    if not _muted:
        print(line, flush=True)


def duration(seconds: float) -> str:
    """'1h02m', '3m20s' or '12s'."""
    seconds = max(int(round(seconds)), 0)
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


def table(metrics: dict[str, float], names: Sequence[str] = ()) -> str:
    """'accuracy 0.9312  iou 0.7011': those of `names`, or all, on one line."""
    shown = names or metrics
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics)


def headline(names: Sequence[str], best_metric: str) -> list[str]:
    """The names of a task's most telling metrics, that which checkpoints are kept by first."""
    return list(dict.fromkeys([*([best_metric] if best_metric else []), *names]))
