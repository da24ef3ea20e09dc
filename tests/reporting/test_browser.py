"""The page in a real browser: what it draws, what it asks for, how it is reached by keyboard."""

import io
import re
import shutil
import time

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from tests.conftest import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here (on Debian: apt-get install chromium)"
)

FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LAPTOP = {"width": 1366, "height": 768}
CONTRAST = """() => {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const channel = (v) => linear(v / 255);
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(background(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, element.tagName + " " + element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A run on 24 simulated subjects at 9 mm, k = 3 and 5, and on two bootstrap samples."""
    out = tmp_path_factory.mktemp("report") / "out"
    sizes = {"n_subjects": 24, "n_components": 5, "voxel_size": 9}
    overrides = [f"inputs.simulation.{name}={value}" for name, value in sizes.items()]
    overrides += [f"output.dir={out}", "decomposition.n_components=[3, 5]", "execution.n_procs=1"]
    overrides += ["selection.n_bootstraps=2"]
    return run(load_config(ROOT / "configs" / "example.yaml", overrides)).outputs


@pytest.fixture(scope="module")
def driver():
    with playwright.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(driver):
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS + SOFTWARE_GL)
    yield browser
    browser.close()


class Watched:
    """An open page, and what it said and asked for."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(viewport=LAPTOP, **options)
        self.page.set_default_timeout(240_000)  # without a GPU, and on a busy machine
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append((message.type, message.text)))
        self.page.on("pageerror", lambda error: self.said.append(("error", str(error))))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"file://{path}")

    def problems(self):
        return [text for kind, text in self.said if kind in ("error", "warning")]

    def show_viewer(self):
        self.page.locator("#viewer-canvas").scroll_into_view_if_needed()
        self.page.wait_for_selector("#viewer[data-shown]")

    def shown(self):
        return self.page.get_attribute("#viewer", "data-shown")

    def wait_for(self, shown):
        self.page.wait_for_selector(f"#viewer[data-shown='{shown}']")

    def picture(self):
        """Pixels of the canvas, once two pictures in turn are equal."""
        before = None
        for _ in range(50):
            now = self.page.locator("#viewer-canvas").screenshot()
            if now == before:
                break
            before = now
            time.sleep(0.1)
        return matplotlib.image.imread(io.BytesIO(now))[..., :3]

    def place(self):
        """x, y, z in mm and the weight in percent of the largest."""
        text = self.page.inner_text("#viewer-position")
        return [
            int(word.strip(",")) for word in text.split() if word.strip(",").lstrip("-").isdigit()
        ]


@pytest.fixture(scope="module")
def opened(browser, example):
    watched = Watched(browser, example.path("report"))
    watched.show_viewer()
    return watched


@pytest.fixture
def viewed(opened):
    """The page as it opens, its viewer at k = 3, component 1."""
    opened.page.set_viewport_size(LAPTOP)
    opened.page.locator("#viewer-threshold").fill("5")
    opened.page.select_option("#viewer-k", "3")
    opened.wait_for("3/1")
    return opened


@pytest.fixture
def watched(browser, example):
    """The page in a window of its own, its viewer not yet started."""
    watched = Watched(browser, example.path("report"))
    yield watched
    watched.page.close()


def peaks(example, k):
    table = pd.read_csv(example.path("dseg_tsv", k), sep="\t")
    return np.rint(table[["peak_x", "peak_y", "peak_z"]]).astype(int).to_numpy().tolist()


def coloured(pixels):
    return float((np.ptp(pixels, axis=-1) > 0.3).mean())


def test_the_viewer_draws_and_nothing_leaves_the_page(viewed, example):
    pixels = viewed.picture()
    assert (pixels.max(axis=-1) > 0.2).mean() > 0.05  # a brain
    assert coloured(pixels) > 0.01  # and a component on it
    assert viewed.shown() == "3/1"
    assert viewed.place() == [*peaks(example, 3)[0], 100]
    assert viewed.problems() == []
    assert viewed.asked == [f"file://{example.path('report')}"]


def test_a_component_can_be_picked(viewed, example):
    before = viewed.picture()
    viewed.page.select_option("#viewer-k", "5")
    viewed.wait_for("5/1")
    options = viewed.page.locator("#viewer-component option").all_inner_texts()
    stability = "stability of all components"
    numbered = [option.partition(":")[0] for option in options]
    assert numbered == [*(f"component {number}" for number in range(1, 6)), stability]
    viewed.page.select_option("#viewer-component", index=3)
    viewed.wait_for("5/4")
    assert viewed.place() == [*peaks(example, 5)[3], 100]
    assert np.abs(viewed.picture() - before).mean() > 0.01
    viewed.page.get_by_role("button", name="Next").click()
    viewed.wait_for("5/5")
    viewed.page.get_by_role("button", name="Next").click()
    viewed.wait_for("5/6")
    position = viewed.page.inner_text("#viewer-position")
    assert re.search(r"mm: \d+ % of 2 bootstrap samples$", position)
    viewed.page.get_by_role("button", name="Next").click()
    viewed.wait_for("5/1")
    viewed.page.get_by_role("button", name="Previous").click()
    viewed.wait_for("5/6")
    assert viewed.problems() == []


def test_a_row_of_a_table_leads_to_its_component(viewed, example):
    viewed.page.locator("a[data-shows='5/2']").click()
    viewed.wait_for("5/2")
    assert viewed.place() == [*peaks(example, 5)[1], 100]
    assert viewed.page.input_value("#viewer-k") == "5"


def test_small_weights_can_be_hidden(viewed):
    before = coloured(viewed.picture())
    viewed.page.locator("#viewer-threshold").fill("80")
    viewed.page.wait_for_timeout(300)
    assert coloured(viewed.picture()) < before / 2
    assert "80 %" in viewed.page.inner_text("#viewer-threshold-value")


def test_one_can_scroll_through_the_brain_by_keyboard_and_by_wheel(viewed, example):
    x, y, z = peaks(example, 3)[0]
    viewed.page.locator("#viewer-canvas").focus()
    viewed.page.keyboard.press("PageUp")
    viewed.page.wait_for_timeout(200)
    up = viewed.place()[:3]
    np.testing.assert_allclose(up[:2], [x, y], atol=1)  # it moves to the middle of a voxel
    assert up[2] > z
    viewed.page.keyboard.press("ArrowRight")
    viewed.page.wait_for_timeout(200)
    assert viewed.place()[0] > x
    before = viewed.place()[:3]
    box = viewed.page.locator("#viewer-canvas").bounding_box()
    viewed.page.mouse.move(box["x"] + box["width"] * 0.18, box["y"] + box["height"] / 2)
    viewed.page.mouse.wheel(0, 100)
    viewed.page.wait_for_timeout(300)
    assert viewed.place()[:3] != before


def test_without_webgl_the_page_says_what_to_do(driver, example):
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--disable-3d-apis"])
    watched = Watched(browser, example.path("report"))
    watched.page.locator("#viewer-canvas").scroll_into_view_if_needed()
    watched.page.wait_for_selector("#viewer-problem", state="visible")
    assert [text for kind, text in watched.said if kind == "error"] == []
    browser.close()


def test_text_has_contrast(viewed):
    viewed.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    found = viewed.page.evaluate(CONTRAST)
    assert len(found) > 100
    assert [text for ratio, text in found if ratio < 4.5] == []


@pytest.mark.parametrize("width", [1366, 1024, 800])
def test_nothing_is_wider_than_the_window(viewed, width):
    viewed.page.set_viewport_size({"width": width, "height": 768})
    assert viewed.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_everything(watched):
    watched.page.keyboard.press("Tab")
    assert watched.page.evaluate("document.activeElement.className") == "skip"
    n = watched.page.evaluate(
        "document.querySelectorAll('a[href], button, select, input, summary, canvas').length"
    )
    reached = set()
    for _ in range(n + 5):
        reached.add(
            watched.page.evaluate("document.activeElement.id || document.activeElement.tagName")
        )
        watched.page.keyboard.press("Tab")
    assert {"viewer-k", "viewer-component", "viewer-next", "viewer-threshold"} <= reached
    assert {"viewer-canvas", "SUMMARY", "A", "BUTTON"} <= reached


def test_text_can_be_copied(viewed):
    viewed.page.locator("button[data-copies='methods-text']").click()
    viewed.page.wait_for_timeout(200)
    selected = viewed.page.evaluate("getSelection().toString()")
    assert "orthonormal projective non-negative matrix factorization" in selected


def test_printed_it_has_the_pictures_and_not_the_viewer(watched):
    watched.show_viewer()
    watched.page.emulate_media(media="print")
    boxes = {
        name: watched.page.locator(name).bounding_box() for name in ("#viewer", "#k3 img >> nth=0")
    }
    assert boxes["#viewer"]["x"] + boxes["#viewer"]["width"] <= 0
    assert boxes["#k3 img >> nth=0"]["x"] >= 0
    assert not watched.page.locator("nav").is_visible()
    pdf = watched.page.pdf(format="A4")
    assert 4 <= pdf.count(b"/Type /Page\n") <= 20
    assert watched.problems() == []
