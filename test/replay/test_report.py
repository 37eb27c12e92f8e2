"""report.html in a real browser: it shows the drive, and every control does what it says."""

import json
import re
from types import SimpleNamespace

import browser
import cv2
import numpy as np
import openvino
import pytest
import yaml
from bags import raw, street, write_bag
from replays import Replay

from drive_seg.core.engine import Loaded
from drive_seg.core.segmenter import Segmenter
from drive_seg.replay import report as report_module
from drive_seg.replay.summary import describe

PICTURE = "return document.getElementById('picture').toDataURL()"
BLANK = """return [...document.querySelectorAll(arguments[0])].filter((canvas) => {
  const blank = document.createElement("canvas");
  blank.width = canvas.width; blank.height = canvas.height;
  return canvas.toDataURL() === blank.toDataURL();
}).length"""


@pytest.fixture(scope="module")
def report(tmp_path_factory, colour_network_path):
    """The report of 60 frames, one of them broken, with golden result and labels."""
    folder = tmp_path_factory.mktemp("report")
    messages = [raw(i, street(i)) for i in range(60)]
    messages[20].step = 5
    bag = write_bag(folder / "street", 60, messages=messages)
    golden = write_bag(folder / "before" / "street", 60, paint=lambda i: street(i + (i == 30)))
    (folder / "labels").mkdir()
    for number in (3, 4, 5):
        cv2.imwrite(str(folder / "labels" / f"{number}.png"), np.full((120, 200), 1, np.uint8))
    groups = {"sky": "background", "road": "road", "pavement": "pavement", "car": "obstacle", "tree": "background"}
    classes = {i: {"name": name, "group": group} for i, (name, group) in enumerate(groups.items())}
    (folder / "labels" / "dataset.yaml").write_text(yaml.safe_dump({"name": "painted", "classes": classes}))
    Replay(colour_network_path, folder / "golden")(golden)
    replay = Replay(colour_network_path, folder / "out")
    assert replay(bag, "--golden", folder / "golden", "--labels", folder / "labels", report=True) == 1
    assert json.loads((folder / "out/street/summary.json").read_text())["golden"]["only_in_a"] == 1
    return folder / "out" / "street" / "report.html"


def test_the_page_needs_nothing_else(report):
    outside = r"""(?:src|href)\s*=\s*["'](?!data:)[^"']*|@import|url\((?!data:)|fetch\(|https?://[^ "'<]*"""
    found = re.findall(outside, report.read_text())
    assert [o for o in found if "www.w3.org/2000/svg" not in o] == []


def test_it_names_the_file_that_ran_and_the_runtime(report, colour_network):
    text = report.read_text()
    assert f"{colour_network.path.name}, SHA-256 {colour_network.sha256}" in text
    assert f"OpenVINO {openvino.get_version()}" in text


def test_of_a_plan_it_names_the_plan(colour_network):
    engine = SimpleNamespace(name="tensorrt", device="a GPU", precision="fp16", input_size=(96, 160),
                             network=colour_network, loaded=Loaded("colours.plan", "ab12", "TensorRT 10.9"))
    facts = describe(Segmenter(engine, colour_network.table))
    assert (facts["file"], facts["file_sha256"], facts["runtime"]) == ("colours.plan", "ab12", "TensorRT 10.9")
    assert facts["network_sha256"] == colour_network.sha256


HOSTILE = "/*script*/ <!--<script> </script> /*title*/ \n\r\u2028 \udcff ' \" & <"


def test_names_from_outside_do_no_harm(report, tmp_path, monkeypatch):
    """A topic, a path or a file may be called anything."""
    folder = report.parent
    summary = json.loads((folder / "summary.json").read_text())
    summary["bag"] |= {"name": HOSTILE, "path": HOSTILE}
    summary["problem"] = HOSTILE
    for name in ("result", "frames.jsonl"):
        (tmp_path / name).symlink_to(folder / name)
    columns = report_module.Columns(tmp_path / "frames.jsonl")
    report_module.write_report(tmp_path, columns, summary, tmp_path / "gone")
    page = (tmp_path / "report.html").read_bytes().decode()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert "<" not in data
    assert json.loads(data)["name"] == HOSTILE
    plain = report.read_text()
    for text in ("<script", "</script>", "<!--", "<title>"):
        assert page.count(text) == plain.count(text), text
    assert page.count(report_module._part("report.js")) == 1


def test_the_size_is_bounded(report):
    assert report_module.PICTURES == 120
    assert report.stat().st_size < 3e6


@pytest.mark.parametrize("name", browser.BROWSERS)
@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 1200), (False, 500)],
                         ids=["light", "dark", "narrow"])
def test_in_a_browser(report, name, dark, width):
    if browser.missing(name):
        pytest.skip(browser.missing(name))
    with browser.BROWSERS[name](dark=dark, width=width) as page:
        page.open(report)
        page.until("document.body.dataset.painted === '0'")
        at_start = page.run(PICTURE)
        page.until("document.body.dataset.thumbnails === 'painted'")
        for place, without in (("#strip canvas", 0), (".moment canvas", 1)):  # frame 20 has no image
            assert page.run(BLANK, place) == without, place
        assert page.run("return document.getElementById('clock').textContent").endswith("frame 0")

        page.run("const s = document.getElementById('slider'); s.value = 45; s.dispatchEvent(new Event('input'))")
        page.until("document.body.dataset.painted === '45'")
        assert page.run(PICTURE) != at_start
        assert page.run("return document.getElementById('clock').textContent").endswith("frame 45")
        cursor = "return document.querySelector('.chart .cursor').getAttribute('x1')"
        assert float(page.run(cursor)) == pytest.approx(1000 * 45 / 59, abs=1), "the curves follow the slider"

        page.press("right")
        page.until("document.body.dataset.painted === '46'")
        page.press("left")
        page.press("left")
        page.until("document.body.dataset.painted === '44'")

        overlay = page.run(PICTURE)
        for mode in ("image", "labels", "confidence"):
            page.click(f"#mode [data-mode={mode}]")
            page.until(f"document.body.dataset.shown === '{mode}'")
            assert page.run(PICTURE) != overlay
        page.click("#mode [data-mode=overlay]")
        page.until("document.body.dataset.shown === 'overlay'")
        assert page.run(PICTURE) == overlay

        page.click(".moment")
        page.until("document.body.dataset.painted === '20'")
        assert "step is 5" in page.run("return document.getElementById('notice').textContent")
        assert page.run("return document.getElementById('notice').hidden") is False

        assert page.run("return document.querySelectorAll('.chart svg path').length") >= 10
        assert page.run("return document.querySelectorAll('.histogram rect').length") > 10
        assert page.run("return document.querySelectorAll('#golden img').length") >= 1
        assert page.run("return document.getElementById('truth-card').hidden") is False
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out"
        background = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) is dark
        assert page.errors() == []
