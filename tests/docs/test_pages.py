"""Every command of the README and of docs/ is run as it stands there, each page in its order, and
prints what the page shows.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from hw.sim.scenario import demo_scenario
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.answers import summary
from loadctl.errors import LoadctlError
from loadctl.site.load import load_site
from loadctl.status import StatusReader
from tests.support.pages import (
    KNOWN_INFO,
    PAGES,
    ROOT,
    blocks_of,
    environment,
    missing_lines,
    run,
)

pytestmark = pytest.mark.timeout(300)

START_WITHIN_s = 150  # seconds on a quiet machine


def test_pages_every_block_says_what_it_is() -> None:
    odd = [
        f"{block.page}:{block.line}: {' '.join(block.info)}"
        for page in PAGES
        for block in blocks_of(page)
        if block.info[:1] not in [(word,) for word in KNOWN_INFO]
    ]
    assert odd == []


def test_pages_every_command_that_is_not_run_says_why() -> None:
    mute = [
        f"{block.page}:{block.line}"
        for page in PAGES
        for block in blocks_of(page)
        if block.is_command and not block.is_run and block.info[-1] == "norun"
    ]
    assert mute == []


def test_pages_no_command_stands_outside_a_block_that_is_run() -> None:
    hidden = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        hidden += re.findall(r"^(?: {4}|\t)\s*(?:\$ )?(?:loadctl|scripts/|sudo) .*$", text, re.M)
    assert hidden == []


def test_pages_a_line_that_is_not_printed_is_missed() -> None:
    printed = "mode run, 12 scans\nbay1  7.1 A  main L1 full\n"
    assert missing_lines("mode run, 99 scans\n...\nbay1 8.5 A main full", printed) == []
    assert missing_lines("mode failsafe, 12 scans", printed) == ["mode failsafe, 12 scans"]
    assert missing_lines("full main", printed) == ["full main"]  # another order


class DemoSite:
    """The demo's site on simulated devices, quicker than it and with limits from outside, beside a
    recorder where the program has one. One for all pages; started again where a page ended it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(folder)
        self.site_path = Path(self.environment["SITE"])
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in ("etc/maps", "state", "home", "run"):
            (folder / name).mkdir(parents=True)
        self.write_site()
        tables = load_site(self.site_path).tables
        self.simulated = SimSite(tables, demo_scenario(tables, 1), folder / "sim")

    def write_site(self) -> None:
        """As it was, whatever a page made of it."""
        text = resources.files("loadctl.cli").joinpath("demo.toml").read_text()
        for before, after in (
            ('port = "simulated"', f'port = "{self.folder}/sim/bus-garage"'),
            ("baud = 19200", "baud = 115200"),
            ("margin_A = 1\n", "margin_A = 1\nexternal = { at_loss_A = 56 }\n"),
        ):
            assert before in text
            text = text.replace(before, after, 1)
        self.site_path.write_text(text)

    def require(self) -> None:
        """It is in run, and what boxes may have drawn before was seen to be gone."""
        if self.processes and self.processes[0].poll() is None:
            return
        self.stop()
        self.start("run", str(self.site_path))
        end_s = time.monotonic() + START_WITHIN_s
        while not self.is_up():
            assert self.processes[0].poll() is None, self.said()
            assert time.monotonic() < end_s, self.said()
            time.sleep(0.1)

    def require_recorder(self) -> None:
        self.require()
        if len(self.processes) == 1:
            self.start("recorder", "--site", str(self.site_path))
            end_s = time.monotonic() + START_WITHIN_s
            while not list(self.folder.glob("state/*/journal.sqlite")):
                assert self.processes[1].poll() is None, self.said()
                assert time.monotonic() < end_s, self.said()
                time.sleep(0.1)

    def start(self, *words: str) -> None:
        command = [sys.executable, "-P", "-m", "loadctl", *words]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
        self.processes.append(process)

    def is_up(self) -> bool:
        try:
            site_dir = runtime.find_site([Path(self.environment["RUN"])], None)
            found = StatusReader(site_dir).read(time.monotonic_ns())
        except LoadctlError:
            return False
        return bool(found["mode"] == "run" and summary(found)[0].startswith("safe"))

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        self.processes.clear()


@pytest.fixture(scope="module")
def demo_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    site = DemoSite(tmp_path_factory.mktemp("site"))
    with site.simulated:
        try:
            yield site
        finally:
            site.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_its_commands_do_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    blocks = blocks_of(page)
    surroundings = environment(tmp_path)
    if any(block.needs("site") or block.needs("recorder") for block in blocks):
        site: DemoSite = request.getfixturevalue("demo_site")
        site.write_site()
        surroundings = site.environment
        site.require()
        if any(block.needs("recorder") for block in blocks):
            site.require_recorder()
    else:
        (tmp_path / "state").mkdir()
        (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    (work / "docs").symlink_to(ROOT / "docs")
    for block in blocks:
        if block.is_run:
            run(block, work, surroundings)


# how the pages hang together


def links_of(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors_of(page: Path) -> set[str]:
    """As the places that show these pages name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings]
    return {"#" + re.sub(r"\s", "-", heading.strip()) for heading in plain}


def test_pages_every_link_leads_somewhere() -> None:
    lost = []
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for link in links_of(page):
            if "://" in link:
                continue
            name, mark, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (mark and f"#{anchor}" not in anchors_of(target)):
                lost.append(f"{page.name}: {link}")
    assert lost == []


def test_pages_the_index_names_every_page_and_the_readme_the_index() -> None:
    index = ROOT / "docs/README.md"
    named = {link.partition("#")[0] for link in links_of(index)}
    assert {page.name for page in PAGES if page.parent == index.parent} - named == {"README.md"}
    assert "docs/README.md" in links_of(ROOT / "README.md")
