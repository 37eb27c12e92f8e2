"""One bag with several cameras: all of them in one result bag, with the ground that they see together.

    FOLDER/result/              rosbag2: what the node would have published
    FOLDER/frames/CAMERA.jsonl  one line a frame, of each camera
    FOLDER/summary.json         the figures of each camera and of the joint ground; written last
    FOLDER/report.html          a picture a camera and the joint ground from above

Frames go into the bag in the order of recording, of two with the same time in that of the cameras: so the result does
not depend on the threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from drive_seg.background import background
from drive_seg.core.around import Motion
from drive_seg.core.ground import CameraPose
from drive_seg.core.health.status import Health, Level, Status
from drive_seg.core.overlay import draw_grid
from drive_seg.outputs.health import Changes
from drive_seg.outputs.joint import GRID_NAME, SCAN_NAME, JointGround, Round, Rounds, Seen, cameras_together
from drive_seg.outputs.table import Result
from drive_seg.pipeline import Model, Pipeline
from drive_seg.replay.frames import Columns
from drive_seg.replay.ground import BagCamera, open_camera
from drive_seg.replay.health import HealthReport
from drive_seg.replay.measure import Measure
from drive_seg.replay.messages import BAG
from drive_seg.replay.report import jpeg
from drive_seg.replay.resultbag import ResultBag, written
from drive_seg.replay.settings import ReplayError
from drive_seg.replay.stream import AHEAD, Lines, Stages, Work, decode, engines_of, read, record_of
from drive_seg.replay.summary import summarise
from drive_seg.rig import Rig
from drive_seg.sources.bag import Bag, BagError, Topic

_LEVELS = {Health.READY.value: Level.OK, Health.DEGRADED.value: Level.WARN, Health.FAULT.value: Level.ERROR}

_PLACES = 100  # of the vehicle that are remembered


def find_topics(bag: Bag, cameras: Sequence[str], given: str | None) -> dict[str, Topic]:
    """The image topic of each camera. given: `front=/a/image,left=/b/image`; else the topics that have the camera's
    name as a part. Raises ReplayError where one has none or several, BagError for a topic that is not there."""
    if given is not None:
        pairs = dict(pair.partition("=")[::2] for pair in given.split(","))
        if set(pairs) != set(cameras) or not all(pairs.values()):
            raise ReplayError(f"--topic must name one topic for each of {', '.join(cameras)}",
                              f"--topic {','.join(f'{name}=/{name}/image' for name in cameras)}")
        return {name: bag.image_topic(pairs[name]) for name in cameras}
    out = {}
    there = ", ".join(topic.name for topic in bag.image_topics())
    for name in cameras:
        fit = [t for t in bag.image_topics() if name in t.name.split("/")]
        if not fit:
            raise ReplayError(f"{bag.path} has no image topic of the camera {name}, it has {there}",
                              f"give it as --topic {name}=/TOPIC,...")
        if len(fit) > 1:
            raise ReplayError(f"{bag.path} has {', '.join(t.name for t in fit)} for the camera {name}",
                              f"choose one: --topic {name}={fit[0].name},...")
        out[name] = fit[0]
    return out


@dataclass
class _Camera:
    """One camera of the bag. level, reasons: of its health at its last frame."""

    name: str
    topic: Topic
    pipeline: Pipeline
    on_vehicle: BagCamera | None
    work: Iterator[Work]
    measure: Measure
    level: Level = Level.OK
    reasons: tuple[str, ...] = ()
    last_ns: int | None = None
    result: Result | None = None


@dataclass
class Replayed:
    """What a replay left beside the files. masks: hash of all masks. rounds, missing: of the joint ground, and in how
    many of them each camera lacked. overlap: what the cameras' poses are suspected of, "" for nothing. problem: where
    the bag is damaged. pictures: BGR overlays by camera, and the joint grid's cells, of a frame in the middle."""

    cameras: dict[str, dict]
    frames: dict[str, int]
    masks: str
    rounds: int
    missing: dict[str, int]
    overlap: str
    problem: str | None
    pictures: dict[str, np.ndarray]
    cells: np.ndarray | None


class RigReplay:
    """Replays all cameras of a bag. Use once."""

    def __init__(self, path: Path, rig: Rig, model: Model, outputs: Sequence[str], storage: str,
                 topics: str | None) -> None:
        """rig: as for_replay gives it. topics: see find_topics. Raises BagError, ReplayError and GROUND_ERRORS."""
        self._rig, self._outputs, self._storage = rig, outputs, storage
        self._opened = contextlib.ExitStack()
        free = engines_of(model)
        with contextlib.ExitStack() as opened:
            first = opened.enter_context(Bag(path))
            self.topics = find_topics(first, list(rig.cameras), topics)
            self._cameras = []
            for name, settings in rig.cameras.items():
                bag = opened.enter_context(Bag(path))
                topic = bag.image_topic(self.topics[name].name)
                on_vehicle = open_camera(bag, topic, settings.mount, outputs, rig.common.odom_frame)
                pipeline = Pipeline(settings, model)
                items = decode(background(read(bag, topic, on_vehicle, settings.max_image_pixels), AHEAD), pipeline,
                               free)
                work = opened.enter_context(contextlib.closing(
                    background(Stages(pipeline, on_vehicle).run(items), AHEAD)))
                self._cameras.append(_Camera(name, topic, pipeline, on_vehicle, work, Measure()))
            self._opened = opened.pop_all()

    @property
    def frames(self) -> int:
        """All that the bag has."""
        return sum(camera.topic.count for camera in self._cameras)

    def run(self, folder: Path) -> Iterator[int]:
        """Write the result into a folder; yields the number of frames done. Then `replayed` is there."""
        by_name = {camera.name: camera for camera in self._cameras}
        measured = [camera for camera in self._cameras if camera.on_vehicle is not None]
        joint_outputs = [n for n in (GRID_NAME, SCAN_NAME) if n in self._outputs] if measured else []
        rounds = Rounds(list(by_name), self._rig.common.camera_tolerance)
        self._places: dict[int, CameraPose] = {}  # of the vehicle, by stamp
        ground = JointGround(BAG, self._rig.common.mount, self._motion)
        changes, digest, done, problem = Changes(), hashlib.sha256(), 0, None
        count, missing = 0, dict.fromkeys(by_name, 0)
        pictures: dict[str, np.ndarray] = {}
        cells, lacking = None, len(by_name)  # of the most whole picture in the second half
        (folder / "frames").mkdir()
        outputs = {c.name: written(self._outputs, c.on_vehicle is not None) for c in self._cameras}
        with self._opened, contextlib.ExitStack() as files:
            result = files.enter_context(ResultBag(folder / "result", (), self._storage, cameras=outputs,
                                                   joint=joint_outputs))
            lines = {name: files.enter_context(Lines(folder / "frames" / f"{name}.jsonl")) for name in by_name}
            order = heapq.merge(*(_numbered(index, camera.work) for index, camera in enumerate(self._cameras)),
                                key=lambda entry: entry[:2])
            try:
                for log_ns, index, item in order:
                    camera = self._cameras[index]
                    if not done:
                        result.name_labels(camera.pipeline.segmenter.table, log_ns)
                    for report in item.reports:
                        result.report(report, camera.name)
                    if item.result is not None:
                        result.write(item.source, item.result, item.stages, camera.name)
                    record = record_of(item, camera.measure, None)
                    lines[camera.name].add(record)
                    digest.update(f"{camera.name} {record.get('digest', 'nothing')}".encode())
                    camera.level, camera.reasons, camera.last_ns = _LEVELS[item.health], item.reasons, log_ns
                    camera.result = item.result or camera.result
                    for round_ in self._join(rounds, camera, item) if joint_outputs else ():
                        count += 1
                        for name in round_.missing:
                            missing[name] += 1
                        header = BAG.header(round_.stamp_ns, "")
                        for name, message in ground.make(round_, joint_outputs, header).items():
                            result.write_joint(name, log_ns, message)
                        if done >= self.frames // 2 and len(round_.missing) < lacking:
                            lacking = len(round_.missing)
                            cells = ground.cells(round_)
                            pictures = {c.name: c.result.overlay for c in self._cameras if c.result is not None}
                    statuses = self._statuses(log_ns) + (ground.statuses() if joint_outputs else [])
                    due = changes.look(statuses, log_ns / 1e9)
                    result.report(HealthReport(log_ns, statuses if due.diagnostics else None, due.health))
                    done += 1
                    yield done
            except BagError as error:  # damaged half-way: what came before is kept
                if not done:
                    raise
                problem = " ".join(str(error).split())
        if not pictures:
            pictures = {c.name: c.result.overlay for c in self._cameras if c.result is not None}
        overlap = next((s.message for s in ground.statuses() if s.name == "overlap" and s.reason), "")
        self.replayed = Replayed({}, {}, digest.hexdigest(), count, missing, overlap, problem, pictures, cells)

    def summarise(self, folder: Path, seconds: float) -> Replayed:
        """The figures of each camera, and their sums. seconds: how long it took."""
        totals = dict.fromkeys(("total", "segmented", "failed", "withheld"), 0)
        for camera in self._cameras:
            columns = Columns(folder / "frames" / f"{camera.name}.jsonl")
            on_vehicle = camera.on_vehicle
            facts = {"topic": camera.topic.name, "type": camera.topic.type, "messages": camera.topic.count,
                     "camera_pose_from": on_vehicle.pose_from if on_vehicle else None}
            summary = summarise(columns, facts, camera.pipeline.segmenter, seconds)
            self.replayed.cameras[camera.name] = summary
            for key, value in summary["frames"].items():
                totals[key] += value
        self.replayed.frames = totals
        return self.replayed

    def _join(self, rounds: Rounds, camera: _Camera, item: Work) -> list[Round]:
        if item.result is None or item.withheld or item.problem is not None:
            return []
        ground = item.result.ground
        if ground is None:
            return []
        stamp_ns = item.source.stamp_ns or item.source.log_ns
        if item.camera is not None and item.camera.place is not None:
            self._places[stamp_ns] = item.camera.place
            if len(self._places) > _PLACES:
                del self._places[next(iter(self._places))]
        return rounds.add(Seen(camera.name, stamp_ns, ground[0].camera, ground[1]))

    def _statuses(self, log_ns: int) -> list[Status]:
        states = {}
        for camera in self._cameras:
            silent = None if camera.last_ns is None else (log_ns - camera.last_ns) / 1e9
            if silent is not None and silent > camera.pipeline.settings.camera_timeout:
                states[camera.name] = (Level.ERROR, "camera: no image comes any more")
            else:
                states[camera.name] = (camera.level, "; ".join(camera.reasons))
        return cameras_together(states)

    def _motion(self, before_ns: int, after_ns: int) -> Motion | None:
        before, after = self._places.get(before_ns), self._places.get(after_ns)
        return None if before is None or after is None else Motion.between(before, after)


def _numbered(index: int, work: Iterator[Work]) -> Iterator[tuple[int, int, Work]]:
    """Frames with their time and the place of their camera."""
    for item in work:
        yield item.source.log_ns, index, item


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #8884}}
td:first-child,th:first-child{{text-align:left}}.all{{display:flex;flex-wrap:wrap;gap:1rem}}figure{{margin:0}}
img{{max-width:100%;width:24rem;image-rendering:auto}}.plan{{image-rendering:pixelated}}
@media(prefers-color-scheme:dark){{body{{background:#16181c;color:#e4e6ea}}}}</style>
<h1>{title}</h1><p>{line}</p><table><tr><th>camera<th>frames<th>segmented<th>failed<th>not believed<th>drivable
<th>unknown<th>in no joint picture</tr>{rows}</table><h2>In the middle of the drive</h2><div class="all">{figures}</div>
</html>
"""


def write_rig_report(folder: Path, name: str, replayed: Replayed) -> None:
    """report.html: figures and a picture of each camera, and the joint ground from above."""
    def share(spread: Mapping | None) -> str:
        return "" if spread is None else f"{100 * spread['median']:.0f} %"

    rows = "".join(
        f"<tr><td>{html.escape(camera)}<td>{s['frames']['total']}<td>{s['frames']['segmented']}<td>"
        f"{s['frames']['failed']}<td>{s['frames']['withheld']}<td>{share(s['drivable'])}<td>{share(s['unknown'])}<td>"
        f"{replayed.missing[camera]} of {replayed.rounds}</tr>" for camera, s in replayed.cameras.items())
    pictures = {camera: cv2.resize(image, (640, max(1, round(640 * image.shape[0] / image.shape[1]))),
                                   interpolation=cv2.INTER_AREA) for camera, image in replayed.pictures.items()}
    figures = "".join(f'<figure><img alt="{camera}" src="{jpeg(image, 80)}"><figcaption>{camera}</figcaption></figure>'
                      for camera, image in pictures.items())
    if replayed.cells is not None:
        figures += (f'<figure><img class="plan" alt="joint grid" src="{jpeg(draw_grid(replayed.cells), 92)}">'
                    "<figcaption>the ground around the vehicle, forward is up</figcaption></figure>")
    line = replayed.overlap or "The cameras show the same ground where they overlap, or overlap too little to tell."
    if not replayed.rounds:
        line = "Too little is known of the cameras' poses for a joint grid."
    title = f"{name}: {len(replayed.cameras)} cameras"
    (folder / "report.html").write_text(_PAGE.format(title=html.escape(title), line=html.escape(line), rows=rows,
                                                     figures=figures))
