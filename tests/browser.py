"""A headless Chromium for tests: Debian's, driven by playwright, with every way to the network shut."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--force-device-scale-factor=1"]


@dataclass
class Visit:
    """An open page, what its console complained about, and every address it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def until(self, condition: str) -> None:
        """Waits until a JavaScript condition holds (playwright's own wait evaluates a text, which the page forbids)."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            self.page.wait_for_timeout(30)


def find() -> str | None:
    """The path of a Chromium or Chrome on this machine, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def need() -> str:
    """The path of a browser; without one the test skips, or fails where CI=true says that it must run."""
    path = find()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("no chromium here, and CI=true wants the browser tests: run scripts/chromium.sh", pytrace=False)
    if path is None:
        pytest.skip("no chromium here: run scripts/chromium.sh")
    return path


@contextmanager
def started() -> Iterator[Browser]:
    """A browser for as long as the block runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> Iterator[Visit]:
    """A report opened from disk and drawn, offline; requests for anything but the file itself are noted and refused."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=True
    )
    seen = Visit(context.new_page())
    loud = ("error", "warning")
    seen.page.on("console", lambda line: seen.complaints.append(line.text) if line.type in loud else None)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", lambda request: seen.asked.append(request.url))
    seen.page.route("**/*", lambda route: route.continue_() if route.request.url == file.as_uri() else route.abort())
    try:
        seen.page.goto(file.as_uri())
        seen.page.wait_for_selector("html[data-ready]", timeout=20_000)
        yield seen
    finally:
        context.close()
