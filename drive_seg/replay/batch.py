"""Many bags: find them, name their results, and replay them in one process or several."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from drive_seg import lean_imports
from drive_seg.replay.job import Job, Outcome, Progress, run_job
from drive_seg.replay.settings import ReplayError
from drive_seg.replay.stream import one_line
from drive_seg.sources.open import is_bag
from drive_seg.sources.storage import split_files

Done = Callable[[Outcome], None]


def find_bags(patterns: Sequence[str], out: Path) -> list[Path]:
    """Bags by path or glob (** for any depth), each once, sorted.

    The file of a rosbag2 folder counts as its folder. Of a bag that is split into several files it counts as that file
    alone, unless the glob matches them all.

    out: folder of results, in which nothing is looked for. Raises ReplayError for a pattern that matches no bag.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        given = Path(pattern).expanduser()
        matches = [given] if given.exists() else map(Path, glob.glob(str(given), recursive=True))  # noqa: PTH207
        there = [path for path in matches if is_bag(path)]
        bags = [path for path in there if not _inside(path, out)]
        if there and not bags:
            raise ReplayError(f"{pattern} is the folder of results {out}, or in it", "choose another --out")
        if not bags:
            raise ReplayError(f"{pattern} is not a bag and matches none",
                              "give a rosbag2 folder or a .mcap, .db3 or .bag file")
        for path in _without_parts(bags):
            found.setdefault(path.resolve(), path)
    return sorted(found.values())


def _inside(path: Path, out: Path) -> bool:
    """Whether a path is the folder of results, or below it."""
    return out.resolve() in (path.resolve(), *path.resolve().parents)


def _without_parts(bags: Sequence[Path]) -> Iterator[Path]:
    """The same with folders in place of all of their files."""
    given = {path.resolve() for path in bags}
    for path in bags:
        parts = {part.resolve() for part in split_files(path.parent)} if path.is_file() else set()
        yield path.parent if path.resolve() in parts and parts <= given else path


def name_results(bags: Sequence[Path], patterns: Sequence[str]) -> list[str]:
    """A folder name for the result of each bag that find_bags found for the patterns.

    A bag given by path: its own name. As soon as a glob is among the patterns, or two bags have one name: the path
    below the folder in which all patterns begin. So a name stays what it is when other bags come to match.
    """
    bags = [_plain(bag) for bag in bags]
    names = [bag.name if bag.is_dir() else bag.stem for bag in bags]
    if not all(names):
        raise ReplayError("the root folder has no name for its result", "give a bag below it")
    given = [Path(pattern).expanduser() for pattern in patterns]
    if all(path.exists() for path in given) and len(set(names)) == len(names):
        return names
    root = Path(os.path.commonpath([_begin(path) for path in given]))
    whole = [Path(os.path.relpath(bag, root)) for bag in bags]
    whole = [path if path.name else Path(bag.name) for path, bag in zip(whole, bags, strict=True)]
    names = [str(path if bag.is_dir() else path.with_suffix("")) for path, bag in zip(whole, bags, strict=True)]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, whole, strict=True)]


def _plain(bag: Path) -> Path:
    """An absolute path without `.` and `..`, which can't name a result."""
    return Path(os.path.normpath(bag.absolute()))


@contextlib.contextmanager
def writing_into(out: Path) -> Iterator[None]:
    """Hold a folder of results: of two runs that would write into it, the second is refused. The lock ends with its
    process, however that ends. Raises ReplayError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ReplayError(f"{out} can't be written: {error.strerror}", "choose another --out") from error
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ReplayError(f"another replay writes into {out}", "wait for its end, or choose another --out"
                                  ) from None
        yield
    finally:
        os.close(handle)


def _begin(given: Path) -> Path:
    """The folder from which on a glob may match; of a bag the folder that it lies in."""
    path = Path(os.path.normpath(given.absolute()))
    if given.exists():
        return path.parent
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*fixed)


def run_jobs(jobs: Sequence[Job], workers: int, done: Done, progress: Progress | None = None) -> list[Outcome]:
    """Replay bags, `workers` at a time; `done` hears of each as it ends. The results do not depend on `workers`.

    A bag that fails, or takes its process with it, is an outcome with a problem; the others go on.
    """
    if workers <= 1 or len(jobs) <= 1:
        outcomes = []
        for job in jobs:
            outcomes.append(_attempt(job, progress))
            done(outcomes[-1])
        return outcomes
    by_job = dict(_in_processes(jobs, min(workers, len(jobs)), done))
    return [by_job[index] for index in range(len(jobs))]


def _in_processes(jobs: Sequence[Job], workers: int, done: Done) -> Iterator[tuple[int, Outcome]]:
    context = multiprocessing.get_context("spawn")  # engines have threads, which a fork would lose
    waiting = list(range(len(jobs)))[::-1]
    busy: dict[Connection, tuple[int, multiprocessing.process.BaseProcess, int]] = {}

    def start(slot: int) -> None:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, _share_of_cores(slot, workers)), daemon=True)
        process.start()
        there.close()
        hand_out(here, process, slot)

    def hand_out(here: Connection, process: multiprocessing.process.BaseProcess, slot: int) -> None:
        if waiting:
            index = waiting.pop()
            busy[here] = (index, process, slot)
            with contextlib.suppress(OSError):  # it is gone already, which is found where its answer is awaited
                here.send(jobs[index])
        else:
            here.close()
            process.join()

    try:
        for slot in range(workers):
            start(slot)
        while busy:
            ready = wait(list(busy))
            for here in [pipe for pipe in busy if pipe in ready]:
                index, process, slot = busy.pop(here)
                try:
                    outcome: Outcome = here.recv()
                except (EOFError, OSError):  # it is gone, and its bag with it
                    process.join()
                    outcome = Outcome(jobs[index].bag, jobs[index].folder, _why_gone(process.exitcode))
                    here.close()
                    if waiting:
                        start(slot)
                else:
                    hand_out(here, process, slot)
                done(outcome)
                yield index, outcome
    finally:
        for _, process, _ in busy.values():
            process.terminate()
            process.join()


def _work(pipe: Connection, cores: set[int]) -> None:
    """A worker process: replays one bag after the other."""
    os.sched_setaffinity(0, cores)  # before any library counts its threads
    lean_imports.load_numba_without_scipy()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        pipe.send(_attempt(job))


def _attempt(job: Job, progress: Progress | None = None) -> Outcome:
    try:
        return run_job(job, progress)
    except Exception as error:  # a bug must not end the other bags
        return Outcome(job.bag, job.folder, f"{type(error).__name__}: {one_line(error)}")


def _share_of_cores(slot: int, workers: int) -> set[int]:
    cores = sorted(os.sched_getaffinity(0))
    share = cores[slot * len(cores) // workers : (slot + 1) * len(cores) // workers]
    return set(share or [cores[slot % len(cores)]])


def _why_gone(code: int | None) -> str:
    if code == -9:
        return "its process was killed (out of memory?); run the same command again to resume"
    return f"its process ended with code {code}; run the same command again to resume"
