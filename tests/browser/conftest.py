# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One browser for all tests, and the pages that they open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._report import page
from ansible_collections.ec2ops.storage.plugins.module_utils._report.changes import changes
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import Place
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tools.browser import FLAGS, MISSING, browser
from tools.environment import COLLECTION

ASSETS = COLLECTION / "plugins" / "plugin_utils" / "report_page"
FILES = {name: (ASSETS / name).read_text(encoding="utf-8") for name in page.FILES}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, with an empty profile.

    Without Chromium the tests are skipped, or fail in continuous integration.
    """
    path = browser()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()


@dataclass
class Opened:
    """A report in the browser. ``complaints``: the messages of the page on the console, and its errors."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def shown(self, table: str) -> list[str]:
        """The text of each row of a table."""
        return self.page.locator(f"#{table}-table tbody tr").all_inner_texts()

    def figure(self, key: str) -> str:
        return self.page.locator(f"[data-figure={key}]").inner_text().replace("\n", " ").strip()


Open = Callable[..., Opened]


@pytest.fixture
def open_report(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the report of some documents. Fails at the end if the page has complained or has asked a network."""
    contexts: list[BrowserContext] = []
    opened: list[Opened] = []

    def open_it(
        documents: Sequence[Mapping[str, Any] | Place],
        *,
        title: str = "Storage",
        since: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> Opened:
        places = [
            each if isinstance(each, Place) else Place(f"host-{number}", each) for number, each in enumerate(documents)
        ]
        file = tmp_path / f"report-{len(contexts)}.html"
        changed = changes([Place("", each) for each in since], places) if since else None
        file.write_text(page.html(places, FILES, title, changed), encoding="utf-8")
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        report = Opened(context.new_page())
        opened.append(report)
        report.page.on("console", lambda message: report.complaints.append(f"{message.type}: {message.text}"))
        report.page.on("pageerror", lambda error: report.complaints.append(str(error)))
        report.page.on("request", lambda request: report.requests.append(request.url))
        report.page.goto(file.as_uri())
        report.page.wait_for_selector("body[data-ready]")
        return report

    yield open_it
    for context in contexts:
        context.close()
    assert [report.complaints for report in opened if report.complaints] == []
    assert {url.split(":")[0] for report in opened for url in report.requests} <= {"file", "data"}
