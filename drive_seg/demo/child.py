"""Processes that the demo starts, watches and always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from drive_seg.errors import DriveSegError

# Ctrl-C reaches the demo alone, which then ends its children in order. No session of its own where Python can do
# without: Linux may give each session the same share of a busy processor, and one node would get as much as three.
_APART: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


class DemoError(DriveSegError, RuntimeError):
    """The demo can't go on; the message says which part failed and what it said."""


class Child:
    """A process whose stderr goes to a log file and whose last lines are at hand. Use as a context manager."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path,
                 on_line: Callable[[str], None] | None = None) -> None:
        """name: for messages. on_line: called in a thread with each line of stdout."""
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=12)
        self._process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                         **_APART)
        self._readers = [
            threading.Thread(target=self._read_log, args=(log,), daemon=True),
            threading.Thread(target=self._read_lines, args=(on_line or (lambda line: None),), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise DemoError when the process has ended, although it should run."""
        if self.exit_code is not None:
            self._join()
            raise DemoError(f"the {self.name} ended (exit code {self.exit_code}); its last words:\n{self.said()}")

    def said(self) -> str:
        """The last lines of its log, indented."""
        return "\n".join(f"    {line}" for line in self.last_lines) or "    nothing"

    def stop(self) -> None:
        """End it: as Ctrl-C would, then harder."""
        for number, patience in ((signal.SIGINT, 8.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            if self.exit_code is not None:
                break
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(patience)
            except (subprocess.TimeoutExpired, ProcessLookupError):
                continue
        self._join()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.stop()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(2.0)

    def _read_log(self, path: Path) -> None:
        with path.open("w") as log:
            for line in self._process.stderr or ():
                self.last_lines.append(line.rstrip())
                log.write(line)
                log.flush()

    def _read_lines(self, on_line: Callable[[str], None]) -> None:
        for line in self._process.stdout or ():
            on_line(line)
