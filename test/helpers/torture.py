"""A campaign against the live node: fuzzed messages, injected faults, a hammered life cycle, a soak, a killed replay.

    make torture [MESSAGES=10000] [ONLY=raw|compressed|faults|hammer|soak|replay]

Prints a table, leaves it with a picture of the soak and the node's logs in the output folder, and ends with exit code 1
where something that must hold does not. No verdict depends on how fast the machine is: what waits for the node waits as
long as the node gets on.
"""

from __future__ import annotations

import argparse
import array
import hashlib
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil

from drive_seg.ros import transport

transport.apply()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from drive_seg.cli.main import main as command_line  # noqa: E402
from drive_seg.core.frame import ENCODINGS, FrameError  # noqa: E402
from drive_seg.pipeline import Pipeline  # noqa: E402
from drive_seg.play.graph import private_domain  # noqa: E402
from drive_seg.ros.images import to_frame  # noqa: E402
from drive_seg.ros.missing import Missing  # noqa: E402
from drive_seg.settings import Settings  # noqa: E402

EVERY = 20  # one valid frame among so many messages
_NAME = "/drive_seg"
_RELIABLE = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
_ATTEMPTS = 15
_HANG = 600.0  # seconds in which nothing at all happens, after which a node hangs, however slow the machine
_NEVER = 3600.0  # seconds for camera_timeout: while the campaign waits, the camera must not count as dead
PARTS = ("raw", "compressed", "faults", "hammer", "soak", "replay")
_FATES = ("published", "replaced", "withheld", "unusable", "failed", "unwatched")
_FAULT_LASTS = 60.0  # seconds; a node that is slow reports it later
_HELD = "withheld, the camera is at fault: "


@dataclass
class Table:
    """What was found. rows: what, what was measured, whether it is as it must be (None: for information)."""

    rows: list[tuple[str, str, bool | None]] = field(default_factory=list)

    def add(self, what: str, measured: object, good: bool | None = None) -> None:
        self.rows.append((what, str(measured), good))
        print(f"{'    ' if good is None else 'ok  ' if good else 'BAD '}{what:56} {measured}", flush=True)

    @property
    def good(self) -> bool:
        return all(good is not False for _, _, good in self.rows)


class Live:
    """The node in a process of its own, and a client that sends to it and hears what it says."""

    def __init__(self, network: Path | None, log: Path, **parameters: object) -> None:
        given = {"engine": "openvino", "frozen_timeout": 0.0, "camera_timeout": _NEVER, **parameters}
        if network is not None:
            given["network"] = str(network)
        words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
        self._log = log.open("w")
        self.process = subprocess.Popen([sys.executable, "-m", "drive_seg.ros.main", "--ros-args", *words],
                                        env=transport.environment(), stderr=self._log, stdout=self._log)
        self.watched = psutil.Process(self.process.pid)
        self.peak = 0
        self.again: Counter[str] = Counter()  # frames that had to be sent again, by cause
        self.sent = 0  # messages on the camera's topic
        self.good: set[int] = set()  # stamps of valid frames that were sent
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("torture", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.raw = self.node.create_publisher(Image, "image", _RELIABLE)
        self.compressed = self.node.create_publisher(CompressedImage, "image/compressed", _RELIABLE)
        self.info = self.node.create_publisher(CameraInfo, "camera_info", _RELIABLE)
        self.labels: dict[int, Image] = {}
        self.heard, self.unheard = 0, Missing()  # masks
        self.accounts = 0
        self.account: dict[str, int] = {}  # what became of the frames, as the node says
        self.health: list[tuple[float, str]] = []
        self.node.create_subscription(Image, f"{_NAME}/labels", self._hear_labels, _RELIABLE)
        self.node.create_subscription(String, f"{_NAME}/health", self._hear_health, _LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear_account, _RELIABLE)

    def _hear_labels(self, message: Image, info: dict) -> None:
        self.unheard.came(info)
        self.heard += 1
        self.labels[stamp_of(message)] = message

    def _hear_account(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": frames"):
                self.account = {pair.key: int(pair.value) for pair in status.values if pair.value.isdigit()}
                self.accounts += 1

    def _hear_health(self, message: String) -> None:
        status = json.loads(message.data)
        self.health.append((time.monotonic(), ": ".join((status["state"], *status["reasons"]))))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes of resident memory, 0 when it is gone."""
        try:
            now = self.watched.memory_info().rss
        except psutil.Error:
            return 0
        self.peak = max(self.peak, now)
        return now

    def spin(self, seconds: float = 0.0) -> None:
        end = time.monotonic() + seconds
        self._executor.spin_once(timeout_sec=0)
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.01)

    def until(self, done: Callable[[], bool], seconds: float = _HANG) -> bool:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end or not self.alive:
                return done()
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def connect(self, compressed: bool) -> None:
        self._camera = self.compressed if compressed else self.raw
        if not self.until(lambda: self._camera.get_subscription_count() > 0):
            raise RuntimeError(f"the node does not listen; its log: {self._log.name}")
        self.spin(1.5)

    def send(self, message: Image | CompressedImage | bytes) -> None:
        """On the camera's topic."""
        self.sent += 1
        self._camera.publish(message)

    @property
    def idle(self) -> bool:
        """Whether the node was done with all that reached it, when it last gave account."""
        return bool(self.account) and self.account["received"] == sum(self.account[fate] for fate in _FATES)

    def through(self, come: Callable[[], bool]) -> bool:
        """Wait for something, or until the node is done with what was sent before and nothing more comes of it.

        Returns whether it came. However slow the node is: it is waited for while it works. Two accounts, a second
        apart by its own clock, in which nothing is in work and nothing has changed, are the end; or _HANG.
        """
        self.until(come, 0.2)  # most come soon
        first, before = self.accounts, dict[str, int]()

        def over() -> bool:
            nonlocal first, before
            if self.accounts >= first + 2 and self.idle:
                if self.account == before:
                    return True
                first, before = self.accounts, self.account
            return come()

        self.until(over)
        return come()

    def answer(self, message: Image | CompressedImage, others: Sequence[np.ndarray] = ()) -> Image | None:
        """Send a valid frame, again where the node is through with it and no masks came. Its labels, None without.

        `again` counts what was sent again, and why. others: the drive's frames, to go on with where the node holds the
        camera at fault: the same picture again says nothing new about a lens.
        """
        first, sent = stamp_of(message), list[int]()

        def come() -> int | None:
            return next((stamp for stamp in sent if stamp in self.labels), None)

        for attempt in range(_ATTEMPTS):
            sent.append(first + attempt * 20_000)
            set_stamp(message, sent[-1])
            self.good.add(sent[-1])
            before = self.account
            self.send(message)
            if self.through(lambda: come() is not None) or not self.alive:
                break
            held = self._held()
            self.again[held or self._fate(before)] += 1
            for number in range(6 if held and len(others) else 0):
                other = picture(others[(7 * attempt + number) % len(others)], 0, self._camera is self.compressed)
                set_stamp(other, sent[-1] + 1000 * (number + 1))
                self.good.add(stamp_of(other))
                self.send(other)
                self.spin(0.3)
        stamp = come()
        return None if stamp is None else self.labels[stamp]

    def balance(self) -> dict[str, int]:
        """What was sent and heard so far, and the node's account of it."""
        return {"sent": self.sent, "heard": self.heard, "unheard": self.unheard.count or 0, **self.account}

    def since(self, start: dict[str, int]) -> dict[str, int]:
        """What came on top of that balance."""
        return {name: count - start.get(name, 0) for name, count in self.balance().items()}

    def settle(self, start: dict[str, int], frame: Image | CompressedImage) -> dict[str, int]:
        """What came on top of that balance, when all is in the account.

        frame: a valid one, to send where that is not so yet: what is missing shows when something comes behind it.
        """
        for _ in range(_ATTEMPTS):
            if self.through(lambda: closed(self.since(start))) or not self.alive:
                break
            set_stamp(frame, stamp_of(frame) + 1)
            self.good.add(stamp_of(frame))
            self.send(frame)
        return self.since(start)

    def describe(self) -> str:
        """Where the node stands, for people."""
        return f"account {self.account}, health {self.health[-1][1][:200] if self.health else 'unheard'}"

    def _fate(self, before: dict[str, int]) -> str:
        """What the node's account says that it did since then, for a frame without masks."""
        rose = [fate for fate in (*_FATES, "missing") if self.account.get(fate, 0) > before.get(fate, 0)]
        return f"no masks; in the account: {', '.join(rose) or 'nothing, it did not reach the node'}"

    def _held(self) -> str:
        """Why the node holds masks back; empty where it does not."""
        said = self.health[-1][1] if self.health else ""
        if not said.startswith("FAULT: camera: "):
            return ""
        reason = said.removeprefix("FAULT: camera: ").partition(" (also")[0].partition(":")[0]
        return f"{_HELD}{' '.join(word for word in reason.split() if not word[0].isdigit())[:50]}"

    def call(self, kind: type, service: str, request: object, seconds: float = _HANG) -> object | None:
        client = self.node.create_client(kind, f"{_NAME}/{service}")
        try:
            if not self.until(client.service_is_ready, seconds):
                return None
            future = client.call_async(request)
            return future.result() if self.until(future.done, seconds) else None
        finally:
            self.node.destroy_client(client)

    def close(self) -> int:
        """End it as Ctrl-C would. Returns its exit code."""
        if self.alive:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(_HANG)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        self._log.close()
        return self.process.wait()


def closed(balance: dict[str, int]) -> bool:
    """Whether each message on the camera's topic is in the account, and each mask was heard or is known to be lost."""
    return (balance["sent"] == balance.get("received", 0) + balance.get("missing", 0)
            and balance.get("received", 0) == sum(balance.get(fate, 0) for fate in _FATES)
            and balance.get("published", 0) == balance["heard"] + balance["unheard"])


@contextmanager
def live(network: Path | None, log: Path, compressed: bool = False, **parameters: object) -> Iterator[Live]:
    node = Live(network, log, image_transport="compressed" if compressed else "raw", **parameters)
    try:
        node.connect(compressed)
        yield node
    finally:
        node.close()


def stamp_of(message: Image | CompressedImage) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def set_stamp(message: Image | CompressedImage, stamp: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)


def with_stamp(message, number: int):
    set_stamp(message, 1_700_000_000 * 10**9 + number * 10**6)
    message.header.frame_id = "camera"
    return message


def picture(pixels: np.ndarray, number: int, compressed: bool) -> Image | CompressedImage:
    """A frame as a driver would send it."""
    if compressed:
        data = cv2.imencode(".jpg", pixels)[1]
        return with_stamp(CompressedImage(format="jpeg", data=array.array("B", data.tobytes())), number)
    return with_stamp(Image(height=pixels.shape[0], width=pixels.shape[1], encoding="bgr8", step=3 * pixels.shape[1],
                            data=array.array("B", pixels.tobytes())), number)


class Fuzz:
    """Messages that no camera should send, from a seed."""

    def __init__(self, seed: int, frames: list[np.ndarray]) -> None:
        self._random, self._frames = random.Random(seed), frames

    def message(self, number: int, compressed: bool) -> tuple[str, object]:
        """A kind (`image`, `info`) and a message, or its bytes in CDR."""
        chosen = self._random.random()
        if chosen < 0.15:
            return "info", self._info(number)
        if chosen < 0.35:
            kind = "info" if self._random.random() < 0.3 else "image"
            good = self._info(number) if kind == "info" else picture(self._frame(), number, compressed)
            return kind, self._cdr(bytes(serialize_message(good)))
        return "image", self._jpeg(number) if compressed else self._image(number)

    def _frame(self) -> np.ndarray:
        return self._random.choice(self._frames)

    def _image(self, number: int) -> Image:
        pick = self._random
        message = picture(self._frame(), number, False)
        for _ in range(pick.randint(1, 3)):
            field_ = pick.choice(("encoding", "height", "width", "step", "data", "data"))
            if field_ == "encoding":
                message.encoding = pick.choice((*ENCODINGS, "", "32FC1", "bgr16", "\x01\x02", "x" * 100_000, "BGR8"))
            elif field_ == "data":
                data = message.data
                size = pick.choice((0, 1, len(data) // 2, max(0, len(data) - 1), len(data) + 7))
                message.data = array.array("B", bytes(data[:size]) + bytes(max(0, size - len(data))))
            else:
                setattr(message, field_, pick.choice((0, 1, 2, 3, 97, 65_535, 2**31 - 1, 2**31, 2**32 - 1)))
        return message

    def _jpeg(self, number: int) -> CompressedImage:
        pick = self._random
        data = cv2.imencode(pick.choice((".jpg", ".jpg", ".png")), self._frame())[1].tobytes()
        at, length = pick.randrange(len(data)), pick.choice((1, 64, 1460, 4096))
        made = pick.choice((
            lambda: data[:at], lambda: data[:at] + data[at + length :] + b"", lambda: b"", lambda: b"\xff\xd8\xff\xd9",
            lambda: data[:at] + bytes(min(length, len(data) - at)) + data[at + length :],
            lambda: pick.randbytes(length), lambda: data[:64] + pick.randbytes(4096),
            lambda: self._claiming(data, 2**16 - 1), lambda: self._claiming(data, 9000),
            lambda: cv2.imencode(".bmp", self._frame())[1].tobytes()))()
        form = pick.choice(("jpeg", "png", "", "x" * 100_000, "16UC1; compressedDepth", "bayer_rggb8; jpeg compressed"))
        return with_stamp(CompressedImage(format=form, data=array.array("B", made)), number)

    @staticmethod
    def _claiming(data: bytes, side: int) -> bytes:
        at = data.find(b"\xff\xc0")
        if at >= 0:
            return data[: at + 5] + struct.pack(">HH", side, side) + data[at + 9 :]
        return data[:16] + struct.pack(">II", side, side) + data[24:]

    def _info(self, number: int) -> CameraInfo:
        pick = self._random

        def value() -> float:
            return pick.choice((0.0, 1.0, -1.0, 200.0, 5e4, 1e-9, 1e300, float("nan"), float("inf"), pick.random()))

        message = with_stamp(CameraInfo(), number)
        message.height, message.width = (pick.choice((0, 1, 180, 360, 65_535, 2**32 - 1)) for _ in range(2))
        message.distortion_model = pick.choice(("", "plumb_bob", "equidistant", "fisheye", "none", "x" * 10_000))
        message.d = [value() for _ in range(pick.choice((0, 1, 4, 5, 8, 12, 14, 100)))]
        for name in ("k", "r", "p"):
            setattr(message, name, [value() for _ in getattr(message, name)])
        message.binning_x, message.binning_y = (pick.choice((0, 1, 2, 2**32 - 1)) for _ in range(2))
        return message

    def _cdr(self, data: bytes) -> bytes:
        pick = self._random
        at = pick.randrange(len(data))
        return pick.choice((
            lambda: data[:at], lambda: pick.randbytes(pick.choice((1, 4, 40, 400))), lambda: data[:4],
            lambda: data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :], lambda: data + bytes(100),
            lambda: b"\x00\x01\x00\x00" + pick.randbytes(64)))()


def is_good(message: object, kind: str, compressed: bool) -> int | None:
    """The stamp of a message that offline is a frame, None of one that is not."""
    if kind == "info":
        return None
    if isinstance(message, bytes):
        try:
            message = deserialize_message(message, CompressedImage if compressed else Image)
        except Exception:  # whatever the middleware says of such bytes
            return None
    try:
        to_frame(message)
        return stamp_of(message)
    except FrameError:
        return None


def fuzz(table: Table, out: Path, network: Path | None, frames: list[np.ndarray], count: int, compressed: bool,
         seed: int = 0) -> None:
    """`count` messages, one in EVERY valid."""
    name = "compressed" if compressed else "raw"
    valid = right = wrong = refused = 0
    allowed: set[int] = set()
    offline_labels: dict[int, np.ndarray] = {}
    sent = Counter()
    made = Fuzz(seed, frames)
    with Pipeline.open(Settings(network=str(network or ""), engine="openvino")) as offline, \
            live(network, out / f"fuzz_{name}.log", compressed) as node:
        node.answer(picture(frames[0], 0, compressed), frames)  # a gap shows once something came before it
        node.through(lambda: False)
        start, warm = node.balance(), 0
        for number in range(1, count + 1):
            if not number % EVERY:
                message = picture(frames[valid % len(frames)], number, compressed)
                answer, which = node.answer(message, frames), valid % len(frames)
                valid += 1
                if which not in offline_labels:
                    offline_labels[which] = offline.segmenter.segment(to_frame(message)).labels
                expected = offline_labels[which].ravel()
                if answer is None:
                    print(f"    {name}: valid frame {valid}: no masks, {node.describe()}", file=sys.stderr, flush=True)
                elif np.array_equal(np.frombuffer(answer.data, np.uint8), expected):
                    right += 1
                else:
                    wrong += 1
                if number >= count // 5 and not warm:
                    warm = node.memory
            else:
                kind, message = made.message(number, compressed)
                stamp = is_good(message, kind, compressed)
                refused += stamp is None
                if stamp is not None:
                    allowed.add(stamp)
                node.info.publish(message) if kind == "info" else node.send(message)
                sent["CDR" if isinstance(message, bytes) else kind] += 1
                node.spin(0.002)
            if not number % 50:
                _ = node.memory
            if not node.alive:
                break
            if not number % 200:
                print(f"    {name}: {number} of {count}, {right} of {valid} right", file=sys.stderr, flush=True)
        balance = node.settle(start, picture(frames[0], count + 1, compressed))
        made_up = set(node.labels) - allowed - node.good
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(sent.items()))
        table.add(f"{name}: messages, of which valid", f"{number} ({kinds}), {valid}")
        table.add(f"{name}: masks of valid frames that are the offline ones", f"{right} of {valid}", right == valid)
        table.add(f"{name}: masks of valid frames that differ", wrong, wrong == 0)
        table.add(f"{name}: frames that were sent again", "; ".join(f"{n} {why}" for why, n in node.again.most_common())
                  or 0)
        table.add(f"{name}: masks of the {refused} messages that are not frames", len(made_up), not made_up)
        became = ", ".join(f"{balance[fate]} {fate}" for fate in (*_FATES, "missing") if balance.get(fate))
        table.add(f"{name}: sent on the camera's topic", balance["sent"])
        table.add(f"{name}: what became of them, as the node says", became,
                  closed(balance) if "missing" in balance else None)
        table.add(f"{name}: crashes", 0 if node.alive else node.process.poll(), node.alive)
        table.add(f"{name}: memory when warm, at the end, at most (MB)",
                  " ".join(f"{b / 1e6:.0f}" for b in (warm, node.memory, node.peak)), node.peak < 2 * max(warm, 1))


def _part(image: np.ndarray, rows: slice, columns: slice, value: int = 120) -> np.ndarray:
    out = image.copy()
    out[rows, columns] = value
    return out


def faults(height: int, width: int) -> dict[str, tuple[Callable[[np.ndarray, int], object], tuple[str, ...]]]:
    """What happens to a frame (pixels, number): other pixels, a message, or None for nothing at all; and the words of
    which ~/health must say one."""
    half, middle = slice(height // 2, None), slice(width // 4, 3 * width // 4)
    all_ = slice(None)
    frozen: list[np.ndarray] = []

    def freeze(image: np.ndarray, number: int) -> np.ndarray:
        frozen.append(image)
        return frozen[0]

    def raw(**changes: object) -> Callable[[np.ndarray, int], Image]:
        def make(image: np.ndarray, number: int) -> Image:
            message = picture(image, number, False)
            for name, value in changes.items():
                setattr(message, name, value)
            return message
        return make

    noise = np.random.default_rng(0)
    unusable = ("an image message is unusable",)
    covered = ("of the lens seems covered",)
    return {
        "camera stops": (lambda image, number: None, ("no image for",)),
        "picture frozen": (freeze, ("stands still, byte for byte",)),
        "black": (lambda image, number: np.zeros_like(image), ("the image is black",)),
        "white": (lambda image, number: np.full_like(image, 255), ("at full brightness",)),
        "grey": (lambda image, number: np.full_like(image, 128), ("the image shows nothing",)),
        "lens covered from below": (lambda image, number: _part(image, half, all_), covered),
        "lens covered from above": (lambda image, number: _part(image, slice(0, height // 2), all_), covered),
        "lens covered on the left": (lambda image, number: _part(image, all_, slice(0, width // 2)), covered),
        "lens covered on the right": (lambda image, number: _part(image, all_, slice(width // 2, None)), covered),
        "lens covered in the middle": (lambda image, number: _part(image, slice(height // 4, None), middle), covered),
        "lens covered, bright": (lambda image, number: _part(image, half, all_, 180), covered),
        "lens covered, dark": (lambda image, number: _part(image, half, all_, 40), covered),
        "out of focus": (lambda image, number: cv2.GaussianBlur(image, (0, 0), width / 25), ("is blurred",)),
        "noise only": (lambda image, number: noise.integers(0, 256, image.shape, np.uint8), ("nothing but noise",)),
        "far too dark": (lambda image, number: image // 24, ("the image is black", "the image shows nothing")),
        "far too bright": (lambda image, number: np.clip(image.astype(np.int16) + 230, 0, 255).astype(np.uint8),
                           ("at full brightness",)),
        "data cut short": (raw(data=array.array("B", bytes(100))), unusable),
        "no data": (raw(data=array.array("B")), unusable),
        "unknown encoding": (raw(encoding="bgr99"), unusable),
        "step too small": (raw(step=3), unusable),
        "size of zero": (raw(height=0, width=0), unusable),
        "larger than allowed": (raw(height=20_000, width=20_000), unusable),
        "one frame in three seconds": (lambda image, number: image if number % 30 == 0 else None,
                                       ("images a second instead of", "no image for")),
        "header stamps an hour back": (lambda image, number: with_stamp(picture(image, number, False), -3_600_000),
                                       ("time jumped back",)),
    }


def inject(table: Table, out: Path, network: Path | None, drive: list[np.ndarray], names: list[str] | None = None,
           rate: float = 10.0) -> dict[str, float | None]:
    """The seconds until ~/health gives the reason, by fault. drive: frames of a vehicle that moves, at `rate`."""
    height, width = drive[0].shape[:2]
    times: dict[str, float | None] = {}
    with live(network, out / "faults.log", frozen_timeout=1.0, camera_timeout=1.0) as node:
        number = 0

        def play(change: Callable[[np.ndarray, int], object] | None, stop: Callable[[], bool]) -> bool:
            """As a camera does, whatever the node makes of it."""
            nonlocal number
            due = time.monotonic()
            for step in range(round(_FAULT_LASTS * rate)):
                number += 1
                made = drive[number % len(drive)]
                made = made if change is None else change(made, step)
                if isinstance(made, np.ndarray):
                    made = picture(made, number * 100, False)
                if made is not None:
                    node.send(made)
                due += 1 / rate
                node.spin(max(0.0, due - time.monotonic()))
                if stop():
                    return True
            return False

        for name, (change, words) in faults(height, width).items():
            if names is not None and name not in names:
                continue

            def said_of_it(since: int, words: tuple[str, ...] = words) -> str:
                """What health said of this fault since so many messages before."""
                return next((text for _, text in node.health[since:] if any(word in text for word in words)), "")

            def quiet() -> bool:
                """On a busy machine READY may not come: what must be gone is this reason."""
                return bool(node.health) and not said_of_it(len(node.health) - 1)

            play(None, quiet)
            end = time.monotonic() + 1.5
            play(None, lambda end=end: time.monotonic() > end)
            if not quiet():
                table.add(f"fault: {name}", f"not injected, the node says so already: {node.health[-1:]}")
                continue
            heard, start = len(node.health), time.monotonic()
            found = play(change, lambda heard=heard: bool(said_of_it(heard)))
            if not found and "too few images are looked at" in node.health[-1][1]:
                table.add(f"fault: {name}", f"not judged, the machine is too slow: {node.health[-1][1][:90]}")
                continue
            what = said_of_it(heard)
            times[name] = next(at for at, text in node.health[heard:] if text == what) - start if found else None
            table.add(f"fault: {name}", f"{times[name]:.1f} s: {what[:90]}" if found
                      else f"not reported in {_FAULT_LASTS:.0f} s: {node.health[-1][1][:90]}")
        reported = sum(t is not None for t in times.values())
        table.add("faults injected, reported with their reason", f"{len(times)}, {reported}", reported == len(times))
        table.add("faults: the node lives", "yes" if node.alive else "no", node.alive)
    return times


def hammer(table: Table, out: Path, network: Path | None, frames: list[np.ndarray], count: int, seed: int = 1) -> None:
    """Parameters and life cycle from outside, in no order; afterwards the node works as before."""
    pick = random.Random(seed)
    transitions = [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE,
                   Transition.TRANSITION_CLEANUP, 77]
    names = ["min_confidence", "strictness", "fault_policy", "engine", "network", "overlay_quality", "", "x" * 500]
    answered = silent = 0
    with live(network, out / "hammer.log") as node:
        for number in range(count):
            if not node.alive:
                break
            if pick.random() < 0.3:
                request = ChangeState.Request()
                request.transition.id = pick.choice(transitions)
                answer = node.call(ChangeState, "change_state", request)
            else:
                value = ParameterValue(type=pick.choice((0, 1, 2, 3, 4, 5, 9, 77)), double_value=pick.choice(
                    (0.5, -1.0, float("nan"), 1e308)), integer_value=-5, string_value=pick.choice(("", "x", "unknown")))
                request = SetParameters.Request(parameters=[ParameterMessage(name=pick.choice(names), value=value)])
                if value.type == 77:  # rclpy gives no answer to that
                    node.call(SetParameters, "set_parameters", request, 0.5)
                    continue
                answer = node.call(SetParameters, "set_parameters", request)
            answered += answer is not None
            silent += answer is None
            if not number % 7:
                node.raw.publish(picture(frames[number % len(frames)], number, False))
        active = False
        for _ in range(6):  # back to work, wherever it was left
            state = node.call(GetState, "get_state", GetState.Request())
            if state is not None and state.current_state.id == State.PRIMARY_STATE_ACTIVE:
                active = True
                break
            request = ChangeState.Request()
            request.transition.id = (Transition.TRANSITION_ACTIVATE if state is not None and state.current_state.id
                                     == State.PRIMARY_STATE_INACTIVE else Transition.TRANSITION_CONFIGURE)
            node.call(ChangeState, "change_state", request)
        for name, value in (("min_confidence", 0.5), ("strictness", 1.0)):
            node.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[ParameterMessage(
                name=name, value=ParameterValue(type=3, double_value=value))]))
        node.spin(1.5)
        answer = next((a for n in range(3) if (a := node.answer(picture(frames[n], 10**6 + n, False)))), None)
        table.add("hammer: calls answered, not answered", f"{answered}, {silent}", silent == 0)
        table.add("hammer: crashes", 0 if node.alive else node.process.poll(), node.alive)
        table.add("hammer: active afterwards, and gives masks", f"{active}, {answer is not None}",
                  active and answer is not None)


def soak(table: Table, out: Path, network: Path | None, frames: list[np.ndarray], count: int) -> None:
    """Frames one after the other; memory, threads and descriptors over them, as soak.png."""
    samples: list[tuple[int, int, int]] = []
    with live(network, out / "soak.log") as node:
        for number in range(count):
            if node.answer(picture(frames[number % len(frames)], number, False), frames) is None:
                break
            node.labels.clear()
            if not (number + 1) % 200:
                print(f"    soak: {number + 1} of {count}", file=sys.stderr, flush=True)
            if not number % max(1, count // 200):
                samples.append((node.memory, node.watched.num_threads(), node.watched.num_fds()))
        alive, again = node.alive, node.again
    curves = np.array(samples, np.float64)
    warm = curves[len(curves) // 4 :]
    first, last = (warm[part, 0].mean() for part in (slice(0, len(warm) // 3), slice(-len(warm) // 3, None)))
    cv2.imwrite(str(out / "soak.png"), draw(curves))
    table.add("soak: frames answered", f"{number + 1} of {count}", alive and number + 1 == count)
    table.add("soak: frames that were sent again", "; ".join(f"{n} {why}" for why, n in again.most_common()) or 0)
    table.add("soak: memory after warm-up, at the end (MB)", f"{first / 1e6:.0f} {last / 1e6:.0f}",
              last <= 1.03 * first)
    for column, what in ((1, "threads"), (2, "descriptors")):
        table.add(f"soak: {what} after warm-up, at the end", f"{warm[0, column]:.0f} {warm[-1, column]:.0f}",
                  warm[-1, column] <= warm[0, column] + 1)


def draw(curves: np.ndarray) -> np.ndarray:
    """Memory, threads and descriptors (n, 3) below one another, each from 0, as a BGR picture."""
    height, width, margin = 130, 760, 60
    rows = []
    for values, name in zip(curves.T, ("memory, MB", "threads", "descriptors"), strict=True):
        values = values / 1e6 if name.startswith("memory") else values
        panel = np.full((height, width, 3), 255, np.uint8)
        top = max(1.0, 1.15 * values.max())
        x = np.linspace(margin, width - 10, len(values))
        y = height - 15 - values / top * (height - 30)
        cv2.polylines(panel, [np.stack([x, y], 1).round().astype(np.int32)], False, (160, 80, 20), 2, cv2.LINE_AA)
        cv2.line(panel, (margin, height - 15), (width - 10, height - 15), (170, 170, 170), 1)
        for text, place in ((name, (margin, 14)), (f"{values.max():.0f}", (4, int(y.min()) + 4)),
                            ("0", (4, height - 10))):
            cv2.putText(panel, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
        rows.append(panel)
    return np.vstack(rows)


def kill_replay(table: Table, out: Path, network: Path | None, bag: Path, kills: int, within: float = 1.0) -> None:
    """A replay that is killed and taken up again ends as one that was not. within: seconds after its first frame."""
    def command(folder: Path) -> list[str]:
        words = [sys.executable, "-m", "drive_seg.cli.main", "replay", str(bag), "--out", str(folder), "--no-report",
                 "--engine", "openvino"]
        return words + (["--network", str(network)] if network is not None else [])

    def run(folder: Path) -> int:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return command_line(command(folder)[3:])

    whole, broken = out / "replay_whole", out / "replay_killed"
    code = run(whole)
    pick, done = random.Random(2), 0
    for _ in range(kills):
        process = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial = broken / f".{bag.name}.partial" / "frames.jsonl"
        end = time.monotonic() + _HANG
        while not partial.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(within * pick.random())
        done += partial.exists() and process.poll() is None
        process.kill()
        process.wait()
    again = run(broken)
    masks = []
    for folder in (whole, broken):
        file = folder / bag.name / "summary.json"
        masks.append(json.loads(file.read_text())["masks_sha256"] if file.is_file() else None)
    table.add("replay: killed in mid-work, then resumed", f"{done} times, exit codes {code} {again}",
              code == again == 0 and done > 0)
    table.add("replay: masks are those of one that was not killed", (masks[1] or "none")[:12],
              masks[0] is not None and masks[0] == masks[1])


def moving(count: int = 12, height: int = 180, width: int = 320) -> list[np.ndarray]:
    """Frames of which every part changes."""
    base = np.random.default_rng(3).integers(0, 256, (height // 12 + 2, width // 12 + 2, 3), np.uint8)
    big = cv2.resize(base, (width + 40, height + 40), interpolation=cv2.INTER_NEAREST)
    return [np.ascontiguousarray(big[2 * i : 2 * i + height, 3 * i : 3 * i + width]) for i in range(count)]


def _drive() -> list[np.ndarray]:
    from drive_seg.sources.clip import DEFAULT
    from drive_seg.sources.open import open_source

    return [cv2.resize(shot.frame.bgr(), (320, 180), interpolation=cv2.INTER_AREA)
            for number, shot in enumerate(open_source(DEFAULT, duration=12)) if not number % 3]


def _bag(folder: Path, frames: list[np.ndarray]) -> Path:
    from bags import raw, write_bag

    count = 4 * len(frames)
    return write_bag(folder / "drive", count, messages=[raw(i, frames[i % len(frames)]) for i in range(count)],
                     with_info=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given several times")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--soak", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--network", type=Path)
    parser.add_argument("--small", action="store_true",
                        help="a small network whose right answer is known: for a machine that is busy otherwise")
    parser.add_argument("--out", type=Path, default=Path("out/torture"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.small:
        from colours import write_colour_network

        args.network = write_colour_network(args.out)
    parts = args.only or PARTS
    table, start = Table(), time.monotonic()
    drive = _drive()
    with private_domain():
        for part in ("raw", "compressed"):
            if part in parts:
                fuzz(table, args.out, args.network, drive, args.messages // 2, part == "compressed")
        if "faults" in parts:
            inject(table, args.out, args.network, drive, rate=25 / 3)
        if "hammer" in parts:
            hammer(table, args.out, args.network, drive, args.calls)
        if "soak" in parts:
            # Every part of these moves: a drive that is sent as fast as answers come is in slow motion on a busy
            # machine, where its sky passes for a cover.
            soak(table, args.out, args.network, moving(), args.soak)
    if "replay" in parts:
        folder = args.out / hashlib.sha256(os.urandom(8)).hexdigest()[:8]
        kill_replay(table, folder, args.network, _bag(folder, drive), args.kills)
    table.add("minutes", f"{(time.monotonic() - start) / 60:.1f}")
    lines = [f"| {what} | {measured} | {'' if good is None else 'ok' if good else 'BAD'} |"
             for what, measured, good in table.rows]
    name = "_".join(["table", *(args.only or [])])
    (args.out / f"{name}.md").write_text("\n".join(["| what | measured | |", "|---|---|---|", *lines]) + "\n")
    return 0 if table.good else 1


if __name__ == "__main__":
    sys.exit(main())
