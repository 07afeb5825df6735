"""The record as Markdown."""

from typing import Any

from benchmarks.gpu import chips

SPEEDS = (
    ("step", "jax step"),
    ("loop", "jax loop"),
    ("streaming", "jax loop, streaming"),
    ("inference", "jax inference"),
    ("torch step", "torch step"),
    ("torch compiled step", "torch compiled step"),
    ("torch inference", "torch inference"),
    ("torch compiled inference", "torch compiled inference"),
)
RATIOS = (
    ("loop / step", "jax loop / jax step"),
    ("step / torch", "jax step / torch step"),
    ("step / compiled", "jax step / torch compiled step"),
    ("inference / torch", "jax inference / torch inference"),
    ("inference / compiled", "jax inference / torch compiled inference"),
)


def markdown(data: dict[str, Any]) -> str:
    """Tables of everything that a record's `data` holds; what is missing is a dash."""
    machine = data["starts"][-1]
    versions = machine["versions"]
    known = ", ".join(f"{name} {versions[name]}" for name in ("jax", "flax", "torch"))
    lines = [f"{machine['device']}, {machine['cpu']}; {known}; commit {machine['commit']}.", ""]
    lines += _speeds(data["cells"])
    lines += _starts(data["cells"])
    lines += _recipes(data["cells"])
    lines += [
        "Peaks that shares are of: TFLOP/s, dense; float32 without tensor cores.",
        "",
        peaks(),
    ]
    return "\n".join(lines)


def _speeds(cells: dict[str, Any]) -> list[str]:
    """A row a system and precision: images a second, ratios, share of peak, memory."""
    rows: dict[tuple[str, str], list[dict]] = {}
    for key, cell in cells.items():
        if "images_per_second" in cell:
            _, system, precision = key.split("/")
            rows.setdefault((system, precision), []).append(cell)
    if not rows:
        return []
    names = ["system", "precision", "batch", *(name for name, _ in SPEEDS)]
    names += [name for name, _ in RATIOS]
    names += ["share of peak: step", "torch", "GiB: step", "torch"]
    lines = ["Images a second; ratios are of rates in the same turns.", "", *head(names)]
    for (system, precision), found in sorted(rows.items()):
        rates, ratios, share, gib = (
            _joined(found, name)
            for name in ("images_per_second", "ratios", "share_of_peak", "memory_gib")
        )
        values = [system, precision, " x ".join(map(str, found[0]["batch"]))]
        values += [_number(rates.get(who), ",.0f") for _, who in SPEEDS]
        values += [_number(ratios.get(who), ".2f") for _, who in RATIOS]
        values += [_number(share.get(who), ".2%") for who in ("jax step", "torch step")]
        values += [_number(gib.get(who), ".2f") for who in ("jax step", "torch step")]
        lines.append(row(values))
    return [*lines, "", *_absent(cells)]


def _joined(found: list[dict], name: str) -> dict[str, float]:
    """The values of several cells, the first one's first."""
    joined = {}
    for cell in reversed(found):
        joined |= cell.get(name, {})
    return joined


def _absent(cells: dict[str, Any]) -> list[str]:
    """What was left out or failed, each reason once."""
    reasons: dict[str, list[str]] = {}
    for key, cell in cells.items():
        for kind in ("skipped", "failed"):
            for who, why in cell.get(kind, {}).items():
                what = key if who == key else f"{key} {who}"
                reasons.setdefault(f"{kind}: {why}", []).append(what)
    lines = []
    for why, what in reasons.items():
        listed = ", ".join(what[:3]) + (f" and {len(what) - 3} more" if len(what) > 3 else "")
        lines.append(f"- {why} ({listed})")
    return [*lines, ""] if lines else []


def _starts(cells: dict[str, Any]) -> list[str]:
    found = {
        k.split("/")[1]: c for k, c in cells.items() if k.startswith("starts/") and "cold" in c
    }
    if not found:
        return []
    lines = ["From `python main.py` to the first finished step, seconds.", ""]
    lines += head(["system", "cold", "cached", "host memory, GiB"])
    for name, cell in found.items():
        cold, cached = cell["cold"], cell["cached"]
        lines.append(
            row(
                [
                    name,
                    f"{cold['seconds']:.1f}",
                    f"{cached['seconds']:.1f}",
                    f"{cold['peak_rss_gib']:.2f}",
                ]
            )
        )
    return [*lines, ""]


def _recipes(cells: dict[str, Any]) -> list[str]:
    found = {
        k.split("/")[1]: c for k, c in cells.items() if k.startswith("recipes/") and "curve" in c
    }
    if not found:
        return []
    lines = ["Trainings, imports and compilation included.", ""]
    lines += head(
        ["recipe", "metric", "target", "seconds to it", "seconds in all", "by the minute"]
    )
    for name, cell in found.items():
        lines.append(
            row(
                [
                    name,
                    cell["metric"],
                    f"{cell['target']:g}",
                    _number(cell["seconds_to_target"], ".1f"),
                    f"{cell['seconds_in_all']:.0f}" + (" (cut)" if cell["unfinished"] else ""),
                    ", ".join(f"{v:.4f}" for v in by_the_minute(cell["curve"])),
                ]
            )
        )
    return [*lines, ""]


def by_the_minute(curve: list[list[float]]) -> list[float]:
    """The last value known at the end of each minute, [seconds, step, value] given."""
    last = {}
    for seconds, _, value in curve:
        last[int(seconds // 60)] = value
    return [last[minute] for minute in sorted(last)]


def head(names: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [row(names), row(["---"] * len(names))]


def row(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def peaks() -> str:
    """The limits that shares are of, with their source."""
    lines = head(["chip", "float32", "TF32", "bfloat16", "TB/s", "source"])
    for name, peak in chips.PEAKS.items():
        rates = [f"{rate:g}" for rate in peak.tflops.values()]
        lines.append(row([name, *rates, f"{peak.terabytes:g}", peak.source]))
    return "\n".join(lines)
