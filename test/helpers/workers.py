"""Worker processes of a batch that die; a module of its own, which a new process can import."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

from drive_seg.replay.batch import writing_into
from drive_seg.replay.job import Outcome


def dies_at_once(pipe: Connection, cores: set[int]) -> None:
    """Before it takes a job."""
    os._exit(3)


def dies_after_its_first_job(pipe: Connection, cores: set[int]) -> None:
    """When its answer is out."""
    pipe.recv()
    pipe.send(Outcome(Path("done"), Path("done")))
    os._exit(3)


def holds(out: Path, pipe: Connection) -> None:
    """Holds a folder of results until the pipe says so, or the process is killed."""
    with writing_into(out):
        pipe.send("held")
        pipe.recv()
