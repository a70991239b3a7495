"""The bridge's live page in headless Chromium: numbers that move, an outage in red, nothing from another host."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from pykafkaevt import EmbeddedBroker
from tests.e2e.conftest import BrowserPage, RunningBridge, free_udp_ports

EVENTS_PER_SECOND = 200
OUTAGE_SECONDS = 2  # what the page may need to show it
PAGE_SECONDS = 15
DRAIN_SECONDS = 30
# page.png: the page is saved there, and during the outage as page-outage.png, for a look at it.
SCREENSHOT = "PYKAFKAEVT_SCREENSHOT"


class Page(BrowserPage):
    """The live page in a browser, by the ids of its elements."""

    def element(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def number(self, name: str) -> float:
        """The first number of an element's text; 0 while it has none."""
        found = re.search(r"[0-9][0-9,]*(\.[0-9]+)?", self.element(name).text)
        return float(found[0].replace(",", "")) if found else 0

    def outage(self) -> bool:
        """Whether the page warns of an outage and marks a target as down."""
        return self.element("outage").is_displayed() and bool(self.browser.find_elements(By.CSS_SELECTOR, "td.down"))

    def well(self) -> bool:
        """Whether it shows neither."""
        return not self.element("outage").is_displayed() and not self.browser.find_elements(By.CSS_SELECTOR, ".down")

    def colours(self, selector: str) -> list[tuple[int, ...]]:
        """Text and background colours, red green blue, of the first element that is found."""
        style = "const s = getComputedStyle(document.querySelector(arguments[0])); return [s.color, s.backgroundColor]"
        texts = self.browser.execute_script(style, selector)
        return [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in texts]

    def save(self, suffix: str = "") -> None:
        """Save a picture of the page when SCREENSHOT names a file, `suffix` at the end of its stem."""
        if text := os.environ.get(SCREENSHOT):
            path = Path(text)
            self.browser.save_screenshot(str(path.with_name(f"{path.stem}{suffix}.png")))


def wait_for(what: str, true: Callable[[], bool], seconds: float) -> None:
    """Wait until true() is. AssertionError after `seconds`."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def red(colour: tuple[int, ...]) -> bool:
    """Whether red outweighs green and blue."""
    return colour[0] > 100 and colour[0] > 1.5 * max(colour[1:])


@pytest.fixture
def page(browser: Chrome) -> Page:
    """A page in it."""
    return Page(browser)


@pytest.fixture
def calls() -> Iterator[int]:
    """A UDP port that gets EVENTS_PER_SECOND events until the test ends."""
    (port,) = free_udp_ports(1)
    stopped = threading.Event()

    def send() -> None:
        number = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stopped.wait(1 / EVENTS_PER_SECOND):
                params = {"callid": f"{number}@sip.example", "method": "INVITE"}
                event = {"jsonrpc": "2.0", "method": "E_CALL", "params": params}
                sender.sendto(json.dumps(event).encode(), ("127.0.0.1", port))
                number += 1

    thread = threading.Thread(target=send)
    thread.start()
    yield port
    stopped.set()
    thread.join()


def test_numbers_move_and_an_outage_is_red(page: Page, calls: int, bridge: Callable[..., RunningBridge]) -> None:
    with EmbeddedBroker(topics=["calls"]) as broker:
        to = f"kafka:{broker.bootstrap_servers}/calls?key=callid"
        running = bridge(f"udp://127.0.0.1:{calls}", "--to", to)
        page.browser.get(running.url)

        wait_for("rates", lambda: min(page.number("received-rate"), page.number("delivered-rate")) > 0, PAGE_SECONDS)
        wait_for("green", page.well, PAGE_SECONDS)
        events = page.element("events").text
        assert "E_CALL" in events
        wait_for("a new count", lambda: page.element("events").text != events, PAGE_SECONDS)
        wait_for("last events", lambda: "@sip.example" in page.element("last-events").text, PAGE_SECONDS)

        broker.set_down(1)
        wait_for("the outage", page.outage, OUTAGE_SECONDS)
        assert any(map(red, page.colours("td.down")))
        assert any(map(red, page.colours("#outage")))
        page.save("-outage")
        wait_for("records in flight", lambda: page.number("in-flight") > EVENTS_PER_SECOND, PAGE_SECONDS)

        broker.set_up(1)
        wait_for("green again", page.well, PAGE_SECONDS)
        wait_for("deliveries again", lambda: page.number("delivered-rate") > 0, PAGE_SECONDS)
        page.save()
        assert page.complaints() == []
        assert {address for address in page.resources() if not address.startswith(running.url)} == set()
        running.drain(DRAIN_SECONDS)
