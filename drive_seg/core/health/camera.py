"""Is the camera alive, and does it see? Rate, time, frozen and unusable images."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from drive_seg.core.frame import Frame
from drive_seg.core.health.coverage import TOO_RARE, Cover, Coverage
from drive_seg.core.health.lens import Look, look
from drive_seg.core.health.status import Level, Status, worst


@dataclass(frozen=True)
class CameraLimits:
    """When the camera's images are called unusable. Shares are 0..1, times in seconds, brightness 0..255.

    The defaults leave six real drives (motorway, forest, glare, underpass) without a false alarm.
    """

    timeout: float = 2.0
    slow: float = 0.6
    """WARN below this share of the camera's own rate."""
    frozen: float = 1.0
    """The same image, byte for byte, for so long; 0 allows it."""
    dark: float = 10.0
    contrast: float = 6.0
    """Standard deviation of the image's brightness."""
    bright_share: float = 0.6
    """Share of pixels at full brightness."""
    sharpness: float = 0.19
    """Step between neighbouring pixels over step between pixels six apart; 1/6 is without any detail. A blur of three
    pixels is always below, the six drives for no quarter of a second (the darkest wood: 0.195)."""
    structure: float = 0.25
    """Look.structure below which an image is mere noise. The six drives: 0.58 and more; at an eighth of their
    brightness with noise of 10 levels: 0.32 and more. Noise: 0.06, in 320x180 at most 0.22."""
    blocked_warn: float = 0.045
    blocked_error: float = 0.05
    """Share of the image that stands still while the rest moves past it. The six drives: at most 0.04 at one image in
    1.7 s, 0 at full rate."""
    strip_warn: float = 0.06
    """The same at the bottom edge, where it may be the vehicle itself."""
    hold: float = 0.25
    """An image fault must last so long before it is reported, and its absence before it is taken back."""


class CameraHealth:
    """Tell it of every arrival with `received`, show it frames with `observe`, ask `status` at any time.

    Times are seconds of one clock.
    """

    _RATE_WINDOW = 2.0
    _STAMP_JUMP = 1.0  # seconds back, as of a bag in a loop; less is a stamp that is a little late
    _UNTIMED = 10  # images at one and the same time, after which the clock is said to stand still

    def __init__(self, limits: CameraLimits | None = None, *, start: float | None = 0.0,
                 ego: np.ndarray | None = None) -> None:
        """start: now, from when on images are waited for; None: from the first time given, where the clock does not
        run yet. ego: (h, w) bool, the vehicle itself; not examined."""
        self.limits = limits or CameraLimits()
        self._last_arrival = self._last_looked = start
        self._arrivals: deque[float] = deque()
        self._untimed = 0  # arrivals since the clock moved
        self._counted_from = -np.inf  # before, arrivals are not known
        self._usual_interval: float | None = None
        self._intervals: list[float] = []
        self._stamp: float | None = None
        self.jumped = False
        """Whether the frame observed last is older than the one before it: what remembers frames must start again."""
        self._jump: tuple[float, float] | None = None  # when noticed, seconds back
        self._size: tuple[int, int] | None = None
        self._resized: tuple[float, str] | None = None
        self._look: Look | None = None
        self._same_since: float | None = None
        self._faults = {name: _Held(self.limits.hold) for name in ("dark", "bright", "flat", "blurred", "noise")}
        # What is covered stood still for a second already, and at one image a second there is no time to lose.
        self._faults |= {name: _Held(self.limits.hold, before=0.0) for name in ("blocked", "strip")}
        self._coverage = Coverage(ego)
        self._cover = Cover(unknown="no image yet")
        self._gaps: deque[float] = deque(maxlen=3)  # seconds between the last images that were looked at

    def received(self, now: float) -> None:
        """An image arrived, whether or not it will be observed."""
        self._untimed = self._untimed + 1 if now == self._last_arrival else 0
        self._arrivals.append(now)
        self._forget_arrivals(now)
        if self._usual_interval is None and len(self._arrivals) > 1 and now > 0:  # 0: there is no /clock yet
            self._intervals.append(now - self._arrivals[-2])
            if len(self._intervals) >= 40:
                # Of ten in a row, because /clock may tick more rarely than images come.
                usual = float(np.median(np.convolve(self._intervals, np.full(10, 0.1), "valid")))
                if usual > 0:
                    self._usual_interval = usual
                self._intervals.clear()  # a clock that hardly ticks says nothing: once more
        self._last_arrival = now

    def observe(self, frame: Frame, stamp: float, now: float) -> None:
        """Look at a frame that was received. stamp: when it was taken, now: when it is looked at."""
        self.jumped = False
        if self._stamp is not None and stamp < self._stamp - 1e-6:
            self.jumped = True
            self._jump = (now, self._stamp - stamp)
            if self._stamp - stamp > self._STAMP_JUMP:
                self._forget_images()
        self._stamp = stamp
        if self._size is not None and self._size != frame.size:
            self._resized = (now, f"{self._size[1]}x{self._size[0]} to {frame.width}x{frame.height}")
            self._forget_lens()
        self._size = frame.size
        new = look(frame)
        # The means of the tiles first: they are few, and differ in nearly every image.
        same = self._look is not None and new.tile_mean.tobytes() == self._look.tile_mean.tobytes() \
            and np.array_equal(new.thumb, self._look.thumb)
        self._same_since = (self._same_since if self._same_since is not None else self._last_looked) if same else None
        if self._look is not None:
            assert self._last_looked is not None  # set with it
            self._gaps.append(now - self._last_looked)
        self._last_looked = now
        self._look = new
        flat = new.deviation < self.limits.contrast
        self._faults["dark"].set(new.mean < self.limits.dark, now)
        self._faults["bright"].set(new.high > self.limits.bright_share, now)
        self._faults["flat"].set(flat, now)
        self._faults["noise"].set(new.structure < self.limits.structure and not flat, now)
        if same:
            return  # says nothing new about the lens
        if self._coverage.due(now):
            self._cover = self._coverage.judge(new.thumb, now)
            self._faults["blocked"].set(self._cover.share >= self.limits.blocked_warn, now)
            self._faults["strip"].set(self._cover.strip >= self.limits.strip_warn, now)
        # A camera's image always has gradients; where they are all shallow, its detail is gone.
        shallow = np.isnan(new.sharpness) and not flat and float(new.tile_contrast.max()) > 0.2
        blurred = new.sharpness < self.limits.sharpness or shallow
        self._faults["blurred"].set(blurred, now)

    def restart(self, back: float, now: float) -> None:
        """The clock was set back by so many seconds: what was noted by it says nothing any more."""
        self._arrivals.clear()
        self._last_arrival = self._last_looked = self._counted_from = now
        self._resized = None
        self._jump = (now, back)
        self._forget_images()

    def status(self, now: float) -> Status:
        """What is wrong with the camera at this time."""
        found = self._found(now)
        values = {"rate": f"{self.rate(now):.1f} Hz"}
        silent = bool(found) and found[0].level == Level.STALE
        if self._look is not None and not silent:
            values |= {"brightness": f"{self._look.mean:.0f}", "sharpness": f"{self._look.sharpness:.2f}",
                       "blocked": f"not known: {self._unknown()}" if self._unknown() else f"{self._cover.share:.0%}"}
        return worst("camera", found, values)

    def level(self, now: float) -> Level:
        """The level of `status`, which is done with every frame: without its figures."""
        return max((finding.level for finding in self._found(now)), default=Level.OK)

    def _found(self, now: float) -> list[Status]:
        limits, found = self.limits, list[Status]()
        silent = self.silence(now)
        if silent > limits.timeout:
            return [Status("silent", Level.STALE, f"no image for {silent:.1f} s",
                           "check the camera, its driver and the remapping of `image`")]
        usual = 1 / self._usual_interval if self._usual_interval else None
        counted = len(self._arrivals) > 1 or now - self._counted_from >= self._RATE_WINDOW
        if usual is not None and counted and self.rate(now) < limits.slow * usual:
            found.append(Status("rate", Level.WARN, f"{self.rate(now):.1f} images a second instead of {usual:.1f}",
                                "check the camera's driver, the transport and the load of this machine"))
        if self._jump is not None and now - self._jump[0] < 1.0:
            found.append(Status("time", Level.WARN, f"time jumped back by {self._jump[1]:.2f} s",
                                "a looping bag does that; on a robot check the camera's clock"))
        if self._resized is not None and now - self._resized[0] < 1.0:
            found.append(Status("size", Level.WARN, f"the images changed from {self._resized[1]}",
                                "check that calibration and ego mask fit the new size"))
        if self._untimed >= self._UNTIMED:
            found.append(Status("time", Level.ERROR, "the clock stands still while images come",
                                "use_sim_time needs a /clock: ros2 bag play --clock, or set use_sim_time to false"))
        if self._look is None:
            found.append(Status("image", Level.WARN, "no image yet",
                                "wait for the camera, or check its driver and the remapping of `image`"))
        else:
            found += self._image_faults(now)
        return found

    def silence(self, now: float) -> float:
        """Seconds since the last image arrived or, before the first, since images are waited for."""
        if self._last_arrival is None:
            self._last_arrival = now or None  # ROS time is 0 until a clock comes
        return 0.0 if self._last_arrival is None else now - self._last_arrival

    def rate(self, now: float) -> float:
        """Images a second that arrived over the last two seconds."""
        self._forget_arrivals(now)
        if len(self._arrivals) < 2:
            return 0.0
        span = max(now - self._arrivals[0], 1e-6)
        return len(self._arrivals) / max(span, self._arrivals[-1] - self._arrivals[0])

    def _image_faults(self, now: float) -> list[Status]:
        limits, found, seen = self.limits, list[Status](), self._look
        if seen is None or self._last_looked is None:
            return found
        if self._faults["dark"].on:
            found.append(Status("dark", Level.ERROR, f"the image is black (mean brightness {seen.mean:.0f})",
                                "uncover the lens, check exposure and lights"))
        elif self._faults["bright"].on:
            found.append(Status("bright", Level.ERROR, f"{seen.high:.0%} of the image is at full brightness",
                                "check the exposure; is the sun in the lens?"))
        elif self._faults["flat"].on:
            found.append(Status("flat", Level.ERROR, "the image shows nothing", "uncover the lens, check the camera"))
        elif self._faults["noise"].on:
            found.append(Status("noise", Level.ERROR, "the image is nothing but noise",
                                "check the camera, its cable and its gain; is the lens covered in the dark?"))
        elif self._faults["blurred"].on:
            found.append(Status("blurred", Level.WARN, f"the image is blurred (sharpness {seen.sharpness:.2f})",
                                "clean the lens, check the focus; drops or mist?"))
        since = self._last_looked if self._same_since is None else self._same_since
        if self._last_looked - since >= limits.frozen > 0:
            found.append(Status("frozen", Level.ERROR,
                                f"the image stands still, byte for byte, for {now - since:.1f} s",
                                "restart the camera's driver"))
        if self._faults["blocked"].on:
            grave = self._cover.share >= limits.blocked_error
            found.append(Status("blocked", Level.ERROR if grave else Level.WARN,
                                f"{self._cover.share:.0%} of the lens seems covered: the image stays the same there",
                                "clean the lens; if the vehicle itself is seen there, give it as ego_mask"))
        elif self._faults["strip"].on:
            found.append(Status("strip", Level.WARN,
                                f"{self._cover.strip:.0%} of the image, at its bottom edge, stays the same",
                                "if that is the vehicle, give it as ego_mask (drive-seg ego-mask finds it); else clean"
                                " the lens"))
        if self._too_rare():
            found.append(Status("rare", Level.WARN, "too few images are looked at (one in"
                                f" {min(self._gaps):.1f} s) to tell whether the lens is covered",
                                f"process at least one image in {TOO_RARE:g} s"))
        return found

    def _too_rare(self) -> bool:
        return len(self._gaps) == self._gaps.maxlen and min(self._gaps) > TOO_RARE

    def _unknown(self) -> str:
        """Why nothing can be said of a covered lens; empty where it can."""
        return "too few images" if self._too_rare() else self._cover.unknown

    def _forget_arrivals(self, now: float) -> None:
        while self._arrivals and self._arrivals[0] < now - self._RATE_WINDOW:
            self._arrivals.popleft()

    def _forget_images(self) -> None:
        """Those before don't belong with what follows."""
        self._forget_lens()
        self._gaps.clear()
        self._same_since = None
        for fault in self._faults.values():
            fault.reset()

    def _forget_lens(self) -> None:
        """Those before can't be compared with what follows; what one alone shows still holds."""
        self._coverage.reset()
        self._cover = Cover(unknown="too few images yet")
        for name in ("blocked", "strip"):
            self._faults[name].reset()


class _Held:
    """A finding that is reported when it lasted, and taken back when it was gone as long."""

    def __init__(self, hold: float, before: float | None = None) -> None:
        """hold: seconds. before: those until it is reported, where they differ."""
        self._hold = {False: hold if before is None else before, True: hold}
        self.reset()

    def reset(self) -> None:
        self.on = False
        self._since: float | None = None

    def set(self, present: bool, now: float) -> None:
        if present == self.on:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now - self._since >= self._hold[self.on] - 1e-9:
            self.on, self._since = present, None
