"""The page of `pykafkaevt bench` in headless Chromium, as wide as a desk and as a phone."""

import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.e2e.conftest import BrowserPage

PHONE, DESK = 390, 1280  # CSS pixels
WIDTH = "return document.documentElement.scrollWidth"
SECONDS = 120


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small comparison with a sweep."""
    path = tmp_path_factory.mktemp("bench") / "result.html"
    options = ("--compare", "confluent", "--num-records", "5000", "--warmup", "100", "--repeat", "2")
    command = [sys.executable, "-m", "pykafkaevt", "bench", *options, "--sweep", "--duration", "0.05"]
    subprocess.run([*command, "--output", str(path)], check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
    return path


def opened(browser: Chrome, path: Path, width: int) -> None:
    """Open the page on a screen of that width."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_tables_and_plots_fit_the_screen(browser: Chrome, result: Path, width: int) -> None:
    opened(browser, result, width)
    assert browser.execute_script(WIDTH) <= width
    plots = browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .main-svg:first-child")
    tables = browser.find_elements(By.TAG_NAME, "table")
    assert (len(plots), len(tables)) == (5, 4)
    for plot in plots:
        assert 300 <= plot.size["width"] <= width
        assert plot.rect["x"] >= 0
    # what is wider than the screen scrolls in a box of its own
    for box in browser.find_elements(By.CLASS_NAME, "scrolls"):
        assert box.rect["x"] + box.size["width"] <= width
    page = BrowserPage(browser)
    assert page.complaints() == []
    assert page.resources() == []


def test_the_ratios_stand_beside_their_plot_on_a_desk_and_above_it_on_a_phone(browser: Chrome, result: Path) -> None:
    def places() -> tuple[dict[str, int], dict[str, int]]:
        table, plot = browser.find_elements(By.CSS_SELECTOR, ".beside")[1].find_elements(By.XPATH, "./div")
        return table.rect, plot.rect

    opened(browser, result, DESK)
    table, plot = places()
    assert plot["x"] >= table["x"] + table["width"]
    opened(browser, result, PHONE)
    table, plot = places()
    assert plot["y"] >= table["y"] + table["height"]
