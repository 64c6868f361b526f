# SPDX-License-Identifier: GPL-2.0-only
"""A real browser to look at pages with, and what it complains of."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = {"desk": (1280, 900), "phone": (400, 800)}
Scheme = Literal["light", "dark"]


@dataclass
class Look:
    """A page that is open, and what was said of it."""

    page: Page
    complaints: list[str] = field(default_factory=list)  # errors and warnings of its console
    requests: list[str] = field(default_factory=list)  # everything that it asked for

    @property
    def violations(self) -> list[str]:
        """What axe finds wrong, contrast and landmarks included."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]

    def open_details(self, wanted: bool) -> None:
        """Open all that can be opened, or close it."""
        self.page.evaluate(
            "open => document.querySelectorAll('details').forEach(d => { d.open = open; })", wanted
        )

    def shown(self, selector: str) -> int:
        """How many elements of ``selector`` can be seen."""
        return self.page.locator(f"{selector}:visible").count()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    # Its sandbox is not for root.
    arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@contextmanager
def look(browser: Browser, path: Path, size: str = "desk", scheme: Scheme = "light") -> Iterator[Look]:
    """Open the file as a user does."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    look = Look(context.new_page())
    look.page.on("console", lambda message: look.complaints.append(f"{message.type}: {message.text}"))
    look.page.on("pageerror", lambda error: look.complaints.append(str(error)))
    look.page.on("dialog", lambda dialog: look.complaints.append(f"dialog: {dialog.message}"))
    look.page.on("request", lambda request: look.requests.append(request.url))
    look.page.goto(path.as_uri())
    yield look
    context.close()
