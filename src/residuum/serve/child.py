"""A child process of the server: started when needed, asked one thing at a time, killed when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from residuum.serve import frames


class Gone(Exception):
    """The child ended before it answered."""


class Child:
    """`python -m MODULE ARGUMENTS` with pipes for streams. The next question starts one that is not running."""

    def __init__(
        self, module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def ask(
        self, header: dict[str, Any], payload: Sequence[bytes | memoryview] = (), seconds: float | None = None
    ) -> frames.Message:
        """Its answer. Raises Gone, and TimeoutError after so many seconds; in both cases it is not running any more."""
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                process.stdin.write(frames.pack(header, sum(len(part) for part in payload)))
                process.stdin.writelines(payload)
                await process.stdin.drain()
                return await frames.receive(process.stdout)
        except (asyncio.IncompleteReadError, OSError) as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise
            raise Gone from None
        except BaseException:
            await self.close()  # its answer to this question must not be taken for the answer to the next
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            env=self._environment,
            limit=2**20,
            start_new_session=True,  # Ctrl-C in a terminal is for the server alone
        )
        return self._process

    async def close(self) -> None:
        """End it; it holds nothing that would be lost."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)  # Process.kill would take its exit status from asyncio
            await process.wait()
