"""Real browsers without a window: Chromium over the WebDriver protocol, Firefox over Marionette, its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
FIREFOX = next(filter(None, map(shutil.which, ("firefox", "firefox-esr"))), None)

KEYS = {"right": "\ue014", "left": "\ue012"}

_START_S = 60


class Browser(ABC):
    """One page at a time. Use as a context manager."""

    def __enter__(self) -> Browser:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """End it."""

    @abstractmethod
    def open(self, path: Path) -> None:
        """Open a file."""

    @abstractmethod
    def run(self, script: str, *args: object) -> object:
        """What a piece of JavaScript returns; a promise is waited for."""

    @abstractmethod
    def errors(self) -> list[str]:
        """What the console has complained about."""

    @abstractmethod
    def _find(self, selector: str) -> str:
        """The id of an element."""

    @abstractmethod
    def _click(self, element: str) -> None: ...

    @abstractmethod
    def _act(self, actions: list[dict]) -> None: ...

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key of KEYS."""
        self._act([{"type": "key", "id": "keyboard",
                    "actions": [{"type": "keyDown", "value": KEYS[key]}, {"type": "keyUp", "value": KEYS[key]}]}])

    def click(self, selector: str) -> None:
        """Click an element, as a person would: it must be visible."""
        self._click(self._find(selector))


class Chromium(Browser):
    """Needs chromedriver."""

    def __init__(self, *, dark: bool = False, width: int = 1200, height: int = 900) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._root = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._driver = subprocess.Popen([DRIVER, f"--port={self._root.rsplit(':', 1)[1]}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}"]
        arguments += ["--force-dark-mode"] if dark else []
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
                  "goog:loggingPrefs": {"browser": "ALL"}}
        end = time.monotonic() + _START_S
        while True:
            try:
                session = self._call("POST", "/session", capabilities={"alwaysMatch": wanted})
                self._root += f"/session/{session['sessionId']}"
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    self._driver.kill()
                    raise
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()

    def open(self, path: Path) -> None:
        """See Browser."""
        self._call("POST", "/url", url=path.resolve().as_uri())

    def run(self, script: str, *args: object) -> object:
        """See Browser."""
        return self._call("POST", "/execute/sync", script=script, args=list(args))

    def errors(self) -> list[str]:
        """See Browser."""
        log = self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in log if entry["level"] in ("SEVERE", "WARNING")]

    def _find(self, selector: str) -> str:
        return next(iter(self._call("POST", "/element", using="css selector", value=selector).values()))

    def _click(self, element: str) -> None:
        self._call("POST", f"/element/{element}/click")

    def _act(self, actions: list[dict]) -> None:
        self._call("POST", "/actions", actions=actions)

    def _call(self, method: str, path: str, **body: object):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]


class Firefox(Browser):
    """Needs nothing besides: Marionette is what geckodriver speaks to it, lengths and JSON over TCP."""

    def __init__(self, *, dark: bool = False, width: int = 1200, height: int = 900) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = Path(self._profile.name)
        preferences = {"marionette.port": 0, "ui.systemUsesDarkTheme": int(dark), "browser.shell.checkDefaultBrowser":
                       False, "layout.css.prefers-color-scheme.content-override": 0 if dark else 1,
                       "datareporting.policy.dataSubmissionEnabled": False, "toolkit.telemetry.enabled": False,
                       "app.update.disabledForTesting": True, "network.captive-portal-service.enabled": False}
        (profile / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                                                 for name, value in preferences.items()))
        self._process = subprocess.Popen(
            [FIREFOX, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile",
             str(profile), f"--width={width}", f"--height={height}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port(profile)), timeout=120)
            self._file = self._socket.makefile("rb")
            self._receive()  # it introduces itself
            self._number = 0
            self._call("WebDriver:NewSession", capabilities={})
            self._call("WebDriver:SetWindowRect", width=width, height=height)
        except BaseException:
            self._end()
            raise

    def _port(self, profile: Path) -> int:
        file, end = profile / "MarionetteActivePort", time.monotonic() + _START_S
        while not (file.is_file() and file.read_text().strip()):
            assert time.monotonic() < end and self._process.poll() is None, "Firefox did not start"
            time.sleep(0.1)
        return int(file.read_text())

    def __exit__(self, *_: object) -> None:
        try:
            self._call("Marionette:Quit", flags=["eForceQuit"])
        finally:
            self._end()

    def _end(self) -> None:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def open(self, path: Path) -> None:
        """See Browser."""
        self._call("WebDriver:Navigate", url=path.resolve().as_uri())

    def run(self, script: str, *args: object) -> object:
        """See Browser."""
        return self._call("WebDriver:ExecuteScript", script=script, args=list(args))["value"]

    def errors(self) -> list[str]:
        """See Browser."""
        self._call("Marionette:SetContext", value="chrome")
        try:
            return self.run("""return Services.console.getMessageArray().filter((m) => m instanceof Ci.nsIScriptError
                && m.sourceName.startsWith("file:")).map((m) => m.errorMessage)""")
        finally:
            self._call("Marionette:SetContext", value="content")

    def _find(self, selector: str) -> str:
        return next(iter(self._call("WebDriver:FindElement", using="css selector", value=selector)["value"].values()))

    def _click(self, element: str) -> None:
        self._call("WebDriver:ElementClick", id=element)

    def _act(self, actions: list[dict]) -> None:
        self._call("WebDriver:PerformActions", actions=actions)

    def _call(self, command: str, **parameters: object):
        self._number += 1
        data = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(f"{len(data)}:".encode() + data)
        _, _, error, result = self._receive()
        assert error is None, f"{command}: {error}"
        return result

    def _receive(self):
        length = b""
        while (byte := self._file.read(1)) != b":":
            assert byte, "Firefox ended"
            length += byte
        return json.loads(self._file.read(int(length)))


BROWSERS = {"chromium": Chromium, "firefox": Firefox}


def missing(name: str) -> str | None:
    """Why one of BROWSERS can't be had here; None where it can."""
    if name == "firefox":
        return None if FIREFOX else "no Firefox here (apt-get install firefox-esr)"
    return None if CHROMIUM and DRIVER else "no Chromium with chromedriver here (apt-get install chromium-driver)"
