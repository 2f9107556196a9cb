"""A headless Chromium, driven over a pipe by its DevTools protocol."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_PATIENCE_S = 60
_VIRTUAL_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}


class Page:
    """A tab. `requests` and `complaints` are what it asked of the network, and its console."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer, self._number = write, read, b"", 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], _PATIENCE_S)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])

    def screen(self, width: int, height: int, *, ratio: float = 1, scheme: str = "light") -> None:
        """Set the window's size in CSS pixels, device pixels for each of them, dark or light."""
        size = {"width": width, "height": height, "deviceScaleFactor": ratio}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, path: Path) -> None:
        """Open a file, and wait until its script has drawn the page."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, a promise's too."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE_S
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until the page has heard of all that was done to it, and its viewer has drawn it."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.wait("document.getElementById('stage').ariaBusy !== 'true'")

    def reload(self) -> None:
        """Load the page anew, and wait until its viewer has drawn."""
        self.run("window.former = true; history.replaceState(null, '', location.pathname)")
        self.call("Page.reload")
        self.wait("!window.former")
        self.wait("document.documentElement?.dataset.ready && document.readyState == 'complete'")
        self.wait("document.getElementById('stage').dataset.drawn")

    def press(self, key: str, *, held: bool = False) -> None:
        """Press a key, and let it go unless it is held."""
        what: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": _VIRTUAL_KEYS.get(key, 0)}
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        if not held:
            self.release(key)

    def release(self, key: str) -> None:
        """Let a key go."""
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: Moved, Pressed, Released or Wheel, at a place of the window."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Drag with the left button."""
        left = {"button": "left", "clickCount": 1, "buttons": 1}
        self.mouse("Pressed", x, y, **left)
        self.mouse("Moved", (x + to_x) / 2, (y + to_y) / 2, button="left", buttons=1)
        self.mouse("Moved", to_x, to_y, button="left", buttons=1)
        self.mouse("Released", to_x, to_y, **left)

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is in the window: x, y, width, height."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect();"
            "return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
        )
        return dict(found)

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        box = self.box(selector)
        place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.mouse("Pressed", *place, button="left", clickCount=1)
        self.mouse("Released", *place, button="left", clickCount=1)

    def choose(self, name: str, value: str) -> None:
        """Choose an option of a select, by its value."""
        self.run(
            f"(() => {{ const s = document.getElementById({json.dumps(name)});"
            f"s.value = {json.dumps(value)}; s.dispatchEvent(new Event('change')); }})()"
        )

    def screenshot(self, whole: bool = False) -> bytes:
        """The window, or the whole page, as PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])


def _moved(descriptor: int) -> int:
    """The same pipe's end under a number of 10 or more."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def chromium() -> Iterator[Page]:
    """Start a browser with one tab."""
    # The browser reads from descriptor 3 and writes to 4; ours are kept out of their way.
    theirs_in, ours_out, ours_in, theirs_out = map(_moved, (*os.pipe(), *os.pipe()))

    def connect() -> None:
        os.dup2(theirs_in, 3)
        os.dup2(theirs_out, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = subprocess.Popen(
            [
                str(PROGRAM),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                f"--user-data-dir={folder}",
            ],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(ours_out, ours_in)
        finally:
            browser.terminate()
            browser.wait(timeout=20)
            os.close(ours_in)
            os.close(ours_out)
