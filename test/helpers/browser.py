"""A real Chromium without a window, driven over the WebDriver protocol."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")

KEYS = {"right": "\ue014", "left": "\ue012"}


class Browser:
    """One page at a time. Use as a context manager."""

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
        end = time.monotonic() + 60
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

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()

    def open(self, path: Path) -> None:
        """Open a file."""
        self._call("POST", "/url", url=path.resolve().as_uri())

    def run(self, script: str, *args: object) -> object:
        """What a piece of JavaScript returns; a promise is waited for."""
        return self._call("POST", "/execute/sync", script=script, args=list(args))

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key of KEYS."""
        action = {"type": "key", "id": "keyboard",
                  "actions": [{"type": "keyDown", "value": KEYS[key]}, {"type": "keyUp", "value": KEYS[key]}]}
        self._call("POST", "/actions", actions=[action])

    def click(self, selector: str) -> None:
        """Click an element, as a person would: it must be visible."""
        element = self._call("POST", "/element", using="css selector", value=selector)
        self._call("POST", f"/element/{next(iter(element.values()))}/click")

    def errors(self) -> list[str]:
        """What the console has complained about since the last call."""
        log = self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in log if entry["level"] in ("SEVERE", "WARNING")]

    def _call(self, method: str, path: str, **body: object):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
