"""Progress people can read: a bar on a terminal, plain lines elsewhere, and always the same lines in a log file.

Everything goes to stderr, so that stdout holds results only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from residuum.errors import UserError, shown

EVERY_SECONDS = 10.0
"""Seconds between two plain lines of one task."""

Update = Callable[..., None]
"""update(done, total, text=""): how far a task is."""


class Reporter:
    """Says lines and tracks tasks; `log` is a file that gets every line, with the time of day."""

    def __init__(self, log: Path | None = None, quiet: bool = False) -> None:
        self.log = log
        self.quiet = quiet
        self._bar_is_up = False

    def say(self, line: str) -> None:
        """One line for the person and the log."""
        self._to_log(line)
        if not self.quiet and not self._bar_is_up:
            print(line, file=sys.stderr, flush=True)
        elif not self.quiet:
            self._print_above(line)

    @contextmanager
    def track(self, what: str, unit: str) -> Iterator[Update]:
        """A task that reports how far it is; rate and time left are worked out here."""
        if sys.stderr.isatty() and not self.quiet:
            with self._bar(what, unit) as update:
                yield update
        else:
            yield self._lines(what, unit)

    def _lines(self, what: str, unit: str) -> Update:
        started = last = time.monotonic()
        first: int | None = None

        def update(done: int, total: int, text: str = "") -> None:
            nonlocal last, first
            now = time.monotonic()
            first = done if first is None else first
            if now - last < EVERY_SECONDS:
                return
            last = now
            rate = (done - first) / (now - started)
            left = duration((total - done) / rate) if rate > 0 else "?"
            self.say(f"{what} {done}/{total} {unit}, {rate:.1f}/s, {left} left{'  ' + text if text else ''}")

        return update

    @contextmanager
    def _bar(self, what: str, unit: str) -> Iterator[Update]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"),
        )  # fmt: skip
        started = time.monotonic()
        first: int | None = None
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None, rate="", text="")
            self._bar_is_up, self._print_above = (
                True,
                lambda line: bar.console.print(line, markup=False, highlight=False),
            )

            def update(done: int, total: int, text: str = "") -> None:
                nonlocal first
                first = done if first is None else first
                rate = (done - first) / max(time.monotonic() - started, 1e-9)
                bar.update(task, completed=done, total=total, rate=f"{rate:.1f}/s", text=text)

            try:
                yield update
            finally:
                self._bar_is_up = False

    def _print_above(self, line: str) -> None:
        """Replaced while a bar is up."""

    def _to_log(self, line: str) -> None:
        if self.log is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            try:
                with self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{stamp} {shown(line)}\n")
            except OSError as error:
                raise UserError(
                    f"cannot write {shown(self.log)}: {error.strerror or error}; make room and resume"
                ) from None


def duration(seconds: float) -> str:
    """Seconds as people write them: 42s, 3m05s, 2h07m."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
