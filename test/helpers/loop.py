"""What keeps the loop short: which tests are slow, and a table of what was skipped.

test/slow_tests.txt names the test functions that take over half a second; they get the marker `slow`, which `make
check` leaves out. `pytest --note-slow` (make slow-tests) writes the file. A run that meets a slow test which is not in
the file says so, so the file stays true.

A test's time is what it would be on a machine that does nothing else, as far as that can be known: without the time in
which the test's thread was ready to run and had no processor. It includes the fixtures that belong to the test or its
module; those of the session are shared.

With pytest-xdist (`-n 2`) tests that follow real time (ROS graphs, processes, the benchmark) run one
after the other within their group, and all others go by file, so that what a file shares is made once. What takes
longest begins first, so that no worker is left alone with it in the end.
"""

from __future__ import annotations

import gc
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

LIST = Path(__file__).parents[1] / "slow_tests.txt"
LIMIT = 0.5
"""Seconds."""
USUAL = 0.05
"""Seconds of a test that is not listed."""

_REAL_TIME = {"node": ("ros/",), "processes": ("demo/", "play/", "launch/", "cli/test_bench.py")}
"""Groups of tests that follow real time: each one after the other."""

_HEAD = "# Test functions that take over half a second, and the seconds. Written by `make slow-tests`.\n"
_SCHEDSTAT = Path("/proc/self/schedstat")


def add_options(parser: pytest.Parser) -> None:
    """Options of this suite."""
    parser.addoption("--note-slow", action="store_true", help=f"measure, and write {LIST.name} for the files that ran")


class Loop:
    """A pytest plugin; with pytest-xdist one in each worker, and one that collects the reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.listed = {} if not LIST.exists() else {
            name: float(seconds) for seconds, name in
            (line.split(maxsplit=1) for line in LIST.read_text().splitlines() if not line.startswith("#"))}
        self.fixtures: dict[tuple[str, str], float] = {}
        self.took: dict[str, float] = defaultdict(float)

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Files of training's tests alone are not even imported where those are left out: torch takes seconds."""
        left_out = "not train" in config.getoption("markexpr") and collection_path.name.startswith("test_") \
            and collection_path.suffix == ".py" and "\npytestmark = pytest.mark.train\n" in collection_path.read_text()
        return True if left_out else None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """What is made here stays: Python would look through all of it for garbage again and again."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.freeze()
            gc.enable()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        for item in items:
            if _function(item.nodeid) in self.listed:
                item.add_marker(pytest.mark.slow)
        yield  # here pytest leaves out what `-m` does not name
        if hasattr(self.config, "workerinput"):
            seconds: Counter[str] = Counter()
            for item in items:
                seconds[_group(item.nodeid)] += self.listed.get(_function(item.nodeid), USUAL)
            items.sort(key=lambda item: -seconds[_group(item.nodeid)])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object:
        """pytest-xdist's own groups (`--dist loadgroup`) are lost with pytest 9."""
        from xdist.scheduler import LoadScopeScheduling

        config.option.loadscopereorder = False  # the workers' order stands, where it would sort by the number of tests

        class ByGroup(LoadScopeScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return _group(nodeid)

        return ByGroup(config, log)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
        start = _clock()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "session":
                self.fixtures[request.node.nodeid, fixturedef.argname] = _clock() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        start = _clock()
        try:
            return (yield)
        finally:
            seconds = _clock() - start
            for name in getattr(item, "fixturenames", ()):
                for node in item.listchain():
                    seconds += self.fixtures.get((node.nodeid, name), 0.0)
            item.user_properties.append(("seconds", seconds))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """A process with real-time priority, and all that it starts, would take the processors from all others."""
        yield
        if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            pytest.fail("the test left its process with real-time priority: set it back", pytrace=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            name = _function(report.nodeid)
            self.took[name] = max(self.took[name], dict(report.user_properties).get("seconds", 0.0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._report_skipped(terminalreporter)
        slow = {name: seconds for name, seconds in self.took.items() if seconds > LIMIT}
        if self.config.getoption("note_slow"):
            self._write(slow)
        elif unlisted := sorted(slow.keys() - self.listed.keys(), key=slow.get, reverse=True):
            terminalreporter.section("slow tests that test/slow_tests.txt does not name (make slow-tests)")
            for name in unlisted:
                terminalreporter.write_line(f"{slow[name]:6.1f} s  {name}")

    def _report_skipped(self, reporter: pytest.TerminalReporter) -> None:
        reasons: Counter[str] = Counter()
        for report in reporter.stats.get("skipped", []):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reasons[reason.removeprefix("Skipped: ")] += 1
        if reasons:
            reporter.section("skipped")
            for reason, count in reasons.most_common():
                reporter.write_line(f"{count:4} {'test ' if count == 1 else 'tests'}  {reason}")

    def _write(self, slow: dict[str, float]) -> None:
        files = {name.partition("::")[0] for name in self.took}
        for name, seconds in self.listed.items():
            file = name.partition("::")[0]
            if file not in files and (LIST.parents[1] / file).exists():
                slow[name] = seconds
        LIST.write_text(_HEAD + "".join(f"{seconds:6.1f} {name}\n" for name, seconds in sorted(slow.items())))


def _function(nodeid: str) -> str:
    """A test's name without its parameters."""
    return nodeid.partition("[")[0]


def _group(nodeid: str) -> str:
    """Which tests run one after the other: those of a group of _REAL_TIME, or of a file."""
    file = nodeid.partition("::")[0].removeprefix("test/")
    return next((group for group, places in _REAL_TIME.items() if file.startswith(places)), file)


def _clock() -> float:
    """Seconds in which this process's first thread ran or slept, but did not wait for a processor."""
    try:
        waited = int(_SCHEDSTAT.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        waited = 0
    return time.monotonic() - waited / 1e9
