"""Lines on the console: what a run says while it works."""

ON_A_LINE = 20  # metrics; a task with one for each of many classes has more


def say(line: str) -> None:
    """One line to the console, now."""
    print(line, flush=True)


def duration(seconds: float) -> str:
    """'1h02m', '3m20s' or '12s'."""
    seconds = max(int(round(seconds)), 0)
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


def table(metrics: dict[str, float]) -> str:
    """'accuracy 0.9312  iou 0.7011': the metrics of one line, the first ON_A_LINE of them.

    A '/' in a name marks a detail ('psnr/grid/3'): those are left to the files.
    """
    shown = [f"{name} {value:.4g}" for name, value in metrics.items() if "/" not in name]
    more = len(shown) - ON_A_LINE
    return "  ".join([*shown[:ON_A_LINE], *([f"(and {more} more)"] if more > 0 else [])])
