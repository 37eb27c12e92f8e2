"""One bag: replay it into a folder of its own. The same function serves one process, many, and a cluster.

    FOLDER/result/       rosbag2: what the node would have published
    FOLDER/frames.jsonl  one line a frame
    FOLDER/summary.json  the figures; written last
    FOLDER/report.html   the same to look at

The folder appears under its name only when it is finished, so that a killed run leaves none behind half done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2

from drive_seg import __version__
from drive_seg.core.frame import FrameError
from drive_seg.network import Network
from drive_seg.outputs.ground import GROUND_ERRORS
from drive_seg.pipeline import CANNOT_OPEN, Model, Pipeline
from drive_seg.replay.compare import Limits, check_result, compare, find_result
from drive_seg.replay.frames import Columns, read_frames
from drive_seg.replay.ground import open_camera
from drive_seg.replay.report import write_report
from drive_seg.replay.resultbag import OUTPUTS, STORAGES, USUAL
from drive_seg.replay.rig import RigReplay, write_rig_report
from drive_seg.replay.settings import ReplayError, for_replay, that_count, that_count_for_all
from drive_seg.replay.stream import one_line, stream
from drive_seg.replay.summary import summarise
from drive_seg.replay.truth import Truth, TruthError, label_files
from drive_seg.resources import default_network
from drive_seg.rig import Rig
from drive_seg.settings import Settings
from drive_seg.sources.bag import Bag, BagError, BagImage, Topic
from drive_seg.sources.storage import storage_files

FORMAT = 1

_PARTS = ("result", "frames.jsonl", "frames", "summary.json", "report.html")
"""All that the folder of a result has in it."""

KNOWN = (BagError, *CANNOT_OPEN, ReplayError, TruthError, *GROUND_ERRORS, OSError)
"""Errors that end one bag with one line; anything else is a bug."""


@dataclass(frozen=True)
class Job:
    """One bag and where its result goes. labels, golden: folders to score and to compare with, or None.

    rig: the cameras where they are several, whose common settings are `settings`. limits: of the golden comparison.
    report: write report.html. again: replace a finished result. topic: the image topic, None for the bag's only
    camera. outputs, storage: of the result bag, see drive_seg.replay.resultbag. All of it can be pickled.
    """

    bag: Path
    folder: Path
    settings: Settings
    labels: Path | None = None
    golden: Path | None = None
    limits: Limits = field(default_factory=Limits)
    report: bool = True
    again: bool = False
    topic: str | None = None
    outputs: tuple[str, ...] = USUAL
    storage: str = "mcap"
    rig: Rig | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in self.outputs if name not in OUTPUTS]
        if wrong:
            raise ReplayError(f"{', '.join(wrong)} is none of the outputs {', '.join(OUTPUTS)}")
        if self.storage not in STORAGES:
            raise ReplayError(f"storage must be one of {', '.join(STORAGES)}, not {self.storage!r}")
        if self.rig is not None and (self.labels or self.golden):
            raise ReplayError("labels and golden results are of one camera",
                              "replay each camera by itself, with --topic and without cameras")

    def absolute(self) -> Job:
        """The same for a process that was started elsewhere."""
        paths = {name: path.expanduser().absolute() for name in ("bag", "folder", "labels", "golden")
                 if (path := getattr(self, name)) is not None}
        rig = None if self.rig is None else self.rig.map(Settings.absolute)
        return replace(self, settings=self.settings.absolute(), rig=rig, **paths)


@dataclass(frozen=True)
class Outcome:
    """How a bag went. problem: why it failed, None when it did not; with a summary, what was replayed is kept all the
    same. differs: it is not what the golden result is."""

    bag: Path
    folder: Path
    problem: str | None = None
    skipped: bool = False
    differs: bool = False
    summary: dict | None = None

    @property
    def ok(self) -> bool:
        """Whether no frame of the bag failed, and all agree with the golden result where one was given. Frames that are
        withheld have not failed."""
        return self.problem is None and not self.differs


Progress = Callable[[int, int], None]
"""Called now and then with the frames done and the frames that there are."""


def run_job(job: Job, progress: Progress | None = None, cores: int | None = None) -> Outcome:
    """Replay one bag. Known errors become the outcome's problem; a finished bag is not done again. cores: to use, by
    default all that this process may."""
    try:
        before = _finished(job)
        if before is not None:
            return _outcome(job, before, skipped=True)
        partial = job.folder.with_name(f".{job.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            summary = (_replay if job.rig is None else _replay_rig)(job, partial, progress, cores)
            _move_in_place(partial, job.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return _outcome(job, summary)
    except KNOWN as error:
        return Outcome(job.bag, job.folder, one_line(error))


def fingerprint(job: Job) -> dict:
    """What a result depends on: bag, network, settings, labels, golden result and version. Raises what reading them
    raises."""
    files = [job.bag]
    if job.bag.is_dir():  # not all below it: results may lie there
        files = [p for p in (job.bag / "metadata.yaml", *storage_files(job.bag)) if p.is_file()]
    return {
        "bag": str(job.bag.resolve()),
        "bytes": sum(p.stat().st_size for p in files),
        "modified_ns": max((p.stat().st_mtime_ns for p in files), default=0),
        **_contents(job.settings),
        "settings": {**_counting(job), "topic": job.topic, "outputs": list(job.outputs),
                     "storage": job.storage},
        "labels": _listing(job.labels) if job.labels else None,
        "golden": _golden_facts(find_result(job.golden)) if job.golden else None,
        "limits": job.limits.to_dict() if job.golden else None,
        "report": job.report,
        "version": __version__,
    }


def _counting(job: Job) -> dict:
    if job.rig is None:
        return that_count(job.settings)
    masks = {f"{name}.ego_mask of": _sha256(Path(settings.ego_mask).expanduser())
             for name, settings in job.rig.cameras.items() if settings.ego_mask}
    return that_count_for_all(job.rig) | masks


def _contents(settings: Settings) -> dict[str, str | None]:
    """Hashes of the files that settings name."""
    network = Network.load(settings.network or default_network())  # compares its files with the hashes in its YAML
    return {"network": _sha256(network.path.with_suffix(".yaml")),
            "ego_mask": _sha256(Path(settings.ego_mask).expanduser()) if settings.ego_mask else None}


def _listing(labels: Path) -> dict[str, str]:
    """Where labels lie, and a hash of their files' names, sizes and times: reading all of them would take long."""
    root, files = label_files(labels)
    facts = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in (root / "dataset.yaml", *files)]
    return {"folder": str(labels.expanduser().resolve()), "files": hashlib.sha256(repr(facts).encode()).hexdigest()}


def _golden_facts(golden: Path) -> dict[str, str]:
    """Where a golden result lies, and a hash of what it has of each frame: place, times and the hash of its masks. Not
    of its timings: replayed again to the same masks, it is the same. Raises ReplayError for one that is damaged."""
    digest = hashlib.sha256()
    try:
        digest.update(json.loads((golden / "summary.json").read_text())["masks_sha256"].encode())
        for record in read_frames(golden / "frames.jsonl"):
            facts = [record["index"], record["log_ns"], record["stamp_ns"], record.get("digest")]
            digest.update(json.dumps(facts).encode())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReplayError(f"{golden} is damaged, its summary.json or frames.jsonl can't be read",
                          "replay it again") from error
    return {"folder": str(golden.resolve()), "masks": digest.hexdigest()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _finished(job: Job) -> dict | None:
    """The summary of a result that need not be done again. Raises ReplayError where the folder holds something else,
    which is never replaced."""
    if not job.folder.exists():
        return None
    file = job.folder / "summary.json"
    if not file.is_file():
        raise ReplayError(f"{job.folder} is there but is not the result of a replay", "choose another --out")
    others = sorted(path.name for path in job.folder.iterdir() if path.name not in _PARTS)
    bag = job.folder / "result"
    if bag.is_dir():
        others += sorted(f"result/{path.name}" for path in bag.iterdir()
                         if path.name != "metadata.yaml" and not path.name.startswith("result."))
    if others:
        raise ReplayError(f"{job.folder} holds more than one replay's result: {', '.join(map(repr, others[:3]))}",
                          "choose another --out")
    summary = _read_summary(file)
    if job.again:
        _check_same_bag(job, summary)
        return None
    if summary is None:
        raise ReplayError(f"{file} is damaged", "--again replaces this result")
    now, then = fingerprint(job), summary["fingerprint"]
    changed = [key for key in now if now[key] != then.get(key)]
    if changed:
        raise ReplayError(f"{job.folder} holds a result with another {', '.join(changed)}",
                          "choose another --out, or --again to replace it")
    if summary.get("unfinished"):  # the disk may have been full
        return None
    return summary


def _read_summary(file: Path) -> dict | None:
    """None for a summary that is damaged."""
    try:
        summary = json.loads(file.read_bytes())
        whole = isinstance(summary, dict) and isinstance(summary["fingerprint"], dict)
        return summary if whole and {"problem", "frames", "golden"} <= summary.keys() else None
    except (ValueError, KeyError):
        return None


def _check_same_bag(job: Job, summary: dict | None) -> None:
    """Raise ReplayError where a result is another bag's: drive.mcap and drive.db3 both go into `drive`."""
    before = Path(str(summary["fingerprint"].get("bag", ""))) if summary is not None else None
    now = job.bag.resolve()
    if before is not None and before.name != now.name and before.parent != now:  # it may have been moved
        raise ReplayError(f"{job.folder} holds the result of another bag, {before}", "choose another --out")


def _move_in_place(partial: Path, folder: Path) -> None:
    old = None
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _outcome(job: Job, summary: dict, skipped: bool = False) -> Outcome:
    problem = summary["problem"]
    if problem is None and summary["frames"]["failed"]:
        problem = f"{summary['frames']['failed']} frames could not be segmented, see frames.jsonl"
    golden = summary["golden"]
    return Outcome(job.bag, job.folder, problem, skipped, golden is not None and not golden["same"], summary)


@lru_cache(maxsize=1)
def _model(settings: Settings, contents: tuple, cores: int | None, process: int) -> Model:
    """The network on the engines of this process, kept from bag to bag. contents: see _contents."""
    cv2.setNumThreads(1)  # the engines share the cores
    return Model.open(settings, cores=cores, several=True)


def _replay(job: Job, folder: Path, progress: Progress | None, cores: int | None) -> dict:
    contents = tuple(_contents(job.settings).values())
    settings = for_replay(job.settings)
    settings.check_files()
    pipeline = Pipeline(settings, _model(settings, contents, cores, os.getpid()))
    start = time.perf_counter()
    problems: list[str] = []
    unfinished: list[str] = []
    with Bag(job.bag) as bag:
        topic = bag.image_topic(job.topic)
        truth, golden = _references(job, bag, topic, pipeline)
        camera = open_camera(bag, topic, settings.mount, job.outputs)
        depends_on = fingerprint(job)  # as it is before the first frame
        digest, done = hashlib.sha256(), 0
        try:
            for record in stream(bag, topic, pipeline, folder, outputs=job.outputs, storage=job.storage, truth=truth,
                                 camera=camera):
                digest.update(record.get("digest", "nothing").encode())
                done += 1
                if progress is not None:
                    progress(done, topic.count)
        except BagError as error:  # damaged half-way: what came before is kept
            if not done:
                raise
            problems.append(one_line(error))
        facts = {
            "format": FORMAT,
            "version": __version__,
            "fingerprint": depends_on,
            "problem": None,
            "unfinished": unfinished,
            "bag": {"path": str(job.bag.resolve()), "name": job.folder.name, "topic": topic.name, "type": topic.type,
                    "messages": topic.count, "has_camera_info": bag.camera_info(topic) is not None,
                    "camera_pose_from": camera.pose_from if camera else None},
            "masks_sha256": digest.hexdigest(),
            "truth": None,
            "golden": None,
        }
    columns = Columns(folder / "frames.jsonl")
    summary = summarise(columns, facts, pipeline.segmenter, time.perf_counter() - start)
    if truth is not None:
        with _told_in(unfinished, "no scores"):
            summary["truth"] = truth.scores()
    if golden is not None:
        with _told_in(unfinished, "not compared with the golden result"):
            comparison = compare(golden, folder, job.limits)
            comparison.b = str(job.folder.resolve())  # where it will be
            summary["golden"] = comparison.to_dict()
    summary["problem"] = "; ".join(problems + unfinished) or None
    if job.report:
        with _told_in(unfinished, "no report"):
            write_report(folder, columns, summary, job.bag, golden)
    summary["problem"] = "; ".join(problems + unfinished) or None
    _write_json(folder / "summary.json", summary)
    return summary


def _replay_rig(job: Job, folder: Path, progress: Progress | None, cores: int | None) -> dict:
    """The same of a bag with several cameras."""
    assert job.rig is not None
    rig = job.rig.map(for_replay)
    rig.check_files()
    model = _model(rig.common, tuple(_contents(rig.common).values()), cores, os.getpid())
    start, depends_on = time.perf_counter(), fingerprint(job)
    replay = RigReplay(job.bag, rig, model, job.outputs, job.storage, job.topic)
    for done in replay.run(folder):
        if progress is not None:
            progress(done, replay.frames)
    seconds = time.perf_counter() - start
    replayed = replay.summarise(folder, seconds)
    unfinished: list[str] = []
    if job.report:
        with _told_in(unfinished, "no report"):
            write_rig_report(folder, job.folder.name, replayed)
    summary = {
        "format": FORMAT, "version": __version__, "fingerprint": depends_on, "unfinished": unfinished,
        "problem": "; ".join(filter(None, [replayed.problem, *unfinished])) or None,
        "bag": {"path": str(job.bag.resolve()), "name": job.folder.name,
                "topics": {name: topic.name for name, topic in replay.topics.items()}},
        "masks_sha256": replayed.masks, "truth": None, "golden": None, "frames": replayed.frames,
        "replay_s": round(seconds, 3), "frames_per_s": round(replayed.frames["total"] / seconds, 2),
        "latency_ms": next((c["latency_ms"] for c in replayed.cameras.values()), None),
        "joint": {"rounds": replayed.rounds, "missing": replayed.missing, "overlap": replayed.overlap},
        "cameras": replayed.cameras,
    }
    _write_json(folder / "summary.json", summary)
    return summary


def _references(job: Job, bag: Bag, topic: Topic, pipeline: Pipeline) -> tuple[Truth | None, Path | None]:
    """Labels and the folder of the golden result, as far as they can be checked before the first frame is replayed."""
    golden = find_result(job.golden) if job.golden else None
    first = next(bag.images(topic), None) if job.labels or golden else None
    truth = None
    if job.labels:
        truth = Truth.open(job.labels, pipeline.segmenter.table, topic.count, _stamps(first, bag.last_image(topic)))
    if first is None:
        return truth, golden
    try:
        size = pipeline.size_of(first.frame(job.settings.max_image_pixels))
    except FrameError:
        size = None  # it gets no masks
    if golden is not None:
        check_result(golden, first.log_ns, size)
    if truth is not None and size is not None:
        truth.check(first, size)
    return truth, golden


def _stamps(first: BagImage | None, last: BagImage | None) -> tuple[int, int] | None:
    """Stamps of the first and the last image, in nanoseconds; None where they say nothing of those between."""
    if first is None or last is None or first.message is None or last.message is None:
        return None
    return (first.stamp_ns, last.stamp_ns) if first.stamp_ns < last.stamp_ns else None


@contextlib.contextmanager
def _told_in(unfinished: list[str], what: str) -> Iterator[None]:
    """After the last frame, no error may throw the frames away: not even a bug. Unlike a damaged bag it may be gone the
    next time, so it is noted apart."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, KNOWN) else f"{type(error).__name__}: "
        unfinished.append(f"{what}: {kind}{one_line(error)}")


def _write_json(path: Path, value: dict) -> None:
    with path.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
