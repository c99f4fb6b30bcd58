"""Hands on a page that a server shows: visits, strokes, keys, files; and what it asked, and was answered."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chromium import Browser

WAIT_S = 30.0  # on a loaded machine
# Notes each question to /predict, as bytes in base64 or as text, with its answer, before the page's own scripts run.
LISTEN = """
(() => {
  const ask = window.fetch;
  window.asked = [];
  window.fetch = async (address, options) => {
    const reply = await ask(address, options);
    if (options?.method !== "POST") return reply;
    const file = options.body instanceof FormData ? options.body.get("file") : null;
    const bytes = file ? new Uint8Array(await file.arrayBuffer()) : null;
    const sent = bytes ? btoa(String.fromCharCode(...bytes)) : options.body;
    window.asked.push({address: String(address), file: Boolean(file), sent, answer: await reply.clone().json()});
    return reply;
  };
})()
"""
# Points of a 3 on the unit square, as a hand draws it.
THREE = [
    *((0.47 + 0.17 * math.cos(-2.6 + step / 6), 0.34 + 0.15 * math.sin(-2.6 + step / 6)) for step in range(25)),
    *((0.47 + 0.19 * math.cos(-1.4 + step / 6), 0.66 + 0.17 * math.sin(-1.4 + step / 6)) for step in range(25)),
]
SHOWN = """
(() => {
  const text = (of, name) => of.querySelector(name)?.textContent ?? null;
  const shown = document.querySelector("#shown .shown");
  return {
    label: text(shown, ".big"),
    sure: text(shown, ".sure"),
    bars: [...shown.querySelectorAll(".bars li")].map((one) => [text(one, ".name"), text(one, ".share")]),
    cells: [...shown.querySelectorAll("tbody tr")].map((one) => [...one.children].map((cell) => cell.textContent)),
  };
})()
"""


READY = "document.querySelector('#input > *')"


def visit(
    page: Browser, address: str, *, width: int = 1000, dark: bool = False, lang: str = "en-GB", ready: str = READY
) -> None:
    """Open an address anew, and wait for the input of its model, or what else is to be there."""
    page.send("Network.setUserAgentOverride", userAgent="Mozilla/5.0", acceptLanguage=lang)
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    page.send("Emulation.setEmulatedMedia", media="screen", features=features)
    # An address that differs by its last part alone would not be loaded anew.
    page.send("Page.navigate", url="about:blank")
    until(page, "location.href === 'about:blank'")
    listening = page.send("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)["identifier"]
    page.events.clear()
    page.send("Page.navigate", url=address)
    until(page, ready)
    page.send("Page.removeScriptToEvaluateOnNewDocument", identifier=listening)


def until(page: Browser, condition: str) -> None:
    """Wait for an expression to hold."""
    end = time.monotonic() + WAIT_S
    while not page.evaluate(f"Boolean({condition})"):
        if time.monotonic() > end:
            raise AssertionError(f"never: {condition}; page: {page.evaluate('document.body.innerText')!r}")
        time.sleep(0.02)


def answered(page: Browser, *, explained: bool = False) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The last input as it was sent, its answer, and what is shown of it."""
    wanted = "" if not explained else "&& asked.at(-1).address.includes('explain') "
    until(page, f"window.asked.length {wanted}&& document.querySelector('#shown .shown')")
    until(page, "!document.querySelector('#answer').hasAttribute('aria-busy')")
    last = page.evaluate("asked.at(-1)")
    sent = base64.b64decode(last["sent"]) if last["file"] else json.loads(last["sent"])["input"]
    return sent, last["answer"], page.evaluate(SHOWN)


def draw(page: Browser, points: Sequence[tuple[float, float]]) -> None:
    """A stroke of the mouse over the canvas; points of the unit square."""
    left, top, width = page.evaluate(
        "(() => { const at = document.querySelector('.board').getBoundingClientRect();"
        " return [at.left, at.top, at.width]; })()"
    )
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 2), "mouseReleased"]
    for kind, (x, y) in zip(kinds, points, strict=True):
        where = {"x": left + x * width, "y": top + y * width}
        page.send("Input.dispatchMouseEvent", type=kind, **where, button="left", buttons=1, clickCount=1)


def press(page: Browser, key: str, *, times: int = 1, **more: Any) -> None:
    """A key, pressed and let go."""
    for _ in range(times):
        page.send("Input.dispatchKeyEvent", type="rawKeyDown", key=key, **more)
        page.send("Input.dispatchKeyEvent", type="keyUp", key=key)


def write(page: Browser, selector: str, text: str) -> None:
    """Text into an emptied field, as from a keyboard."""
    page.evaluate(f"(() => {{ const field = document.querySelector({selector!r}); field.focus(); field.select(); }})()")
    page.send("Input.insertText", text=text)


def paste(page: Browser, address: str, selector: str, text: str) -> None:
    """Text into an emptied field, by the clipboard."""
    page.send("Browser.grantPermissions", origin=address, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.evaluate(f"navigator.clipboard.writeText({json.dumps(text)}).then(() => true)")
    page.evaluate(f"(() => {{ const field = document.querySelector({selector!r}); field.focus(); field.select(); }})()")
    press(page, "v", modifiers=2, commands=["paste"])


def upload(page: Browser, path: Path) -> None:
    """A file, as chosen in the dialog of the page's button."""
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="#input input[type=file]")["nodeId"]
    page.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def said(page: Browser) -> list[Any]:
    """What stands in the console: messages, faults, refusals of the page's policy."""
    page.evaluate("new Promise(requestAnimationFrame).then(() => true)")
    heard = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    return [event["params"] for event in page.events if event.get("method") in heard]


def elsewhere(page: Browser, address: str) -> list[str]:
    """Addresses that were asked and are not the server's own."""
    asked = [e["params"]["request"]["url"] for e in page.events if e.get("method") == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith((f"{address}/", "data:", f"blob:{address}/"))]
