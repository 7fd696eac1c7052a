"""A timeline as lines of text: a bar, a duration and the step waited for."""

from __future__ import annotations

from manor.cli.output import printable
from manor.cli.render.steps import seconds
from manor.cli.render.timeline import Timeline

__all__ = ["timeline_text"]

_CRITICAL, _OTHER = "█", "▒"


def timeline_text(times: Timeline, width: int = 40) -> str:
    """The timeline with bars at most ``width`` characters wide."""
    head = "  ".join((times.title, times.operation_id, times.state, seconds(times.duration_s)))
    lines = [printable(head), ""]
    names = {bar.id: bar.name for bar in times.bars}
    column = max((len(bar.name) for bar in times.bars), default=0)
    scale = width / times.duration_s if times.duration_s else 0.0
    for bar in times.bars:
        first = min(int(bar.start_s * scale), width - 1)
        length = max(1, min(round(bar.duration_s * scale), width - first))
        drawn = (" " * first + (_CRITICAL if bar.critical else _OTHER) * length).ljust(width)
        says = [f"{seconds(bar.duration_s):>8}"]
        if bar.state != "done":
            says.append(bar.state)
        if bar.attempt > 1:
            says.append(f"attempt {bar.attempt}")
        if bar.after:
            says.append(f"after {names[bar.after]}")
        if bar.waited_s >= max(0.5, 0.05 * times.duration_s):
            says.append(f"waited {seconds(bar.waited_s)} for a worker")
        if bar.error:
            says.append(f"({bar.error})")
        lines.append(printable(f"{bar.name.ljust(column)}  {drawn} {'  '.join(says)}"))
    lines += [printable(f"{name.ljust(column)}  {'not started'}") for name in times.waiting]
    if times.bars:
        busy = sum(bar.duration_s for bar in times.bars if bar.critical)
        lines += ["", f"{_CRITICAL} critical path, {seconds(busy)} of {seconds(times.duration_s)}   {_OTHER} beside it"]
    return "\n".join(lines) + "\n"
