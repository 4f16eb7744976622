"""Ctrl-C and SIGTERM as a request: the step under way is finished and saved first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Stopped(Exception):
    """Training was asked to stop, and has saved its state; `signal_number` says by what."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.signal_number = signal_number
        self.step = step


class StopRequest:
    """A context in which the first SIGINT or SIGTERM is only noted; a second one acts as ever.

    Where it is `patient` every one is noted: torchrun passes Ctrl-C on to processes that the terminal has told already.
    """

    def __init__(self, patient: bool = False) -> None:
        self.signal_number: int | None = None
        self._patient = patient
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
