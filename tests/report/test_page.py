"""The page as a reader has it: valid HTML that needs no network, and in a browser tables that sort, filter, fit and can be read by all.

The browser tests need Chromium and its driver: `apt-get install chromium chromium-driver`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import html5lib
import pytest
from made_records import KINDS, golden_costs, golden_records, golden_tuning, record, student, teacher
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from benchmark.costs import write_costs
from benchmark.report.cells import DASH, ROLES
from benchmark.report.page import Part, page
from benchmark.report.render import Line
from benchmark.report.write import Folder

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, NARROW = (1280, 900), (390, 844)
HOSTILE = "</script><b title=\"x\">R&D 'cpu' &amp; `code`"  # a device is whatever the machine calls itself


class Pages(NamedTuple):
    parts: tuple[Part, Part]  # as the page of both has them
    whole: tuple[Part, Part]
    together: Path  # both parts
    alone: Path  # the first


def cars_records():
    """Two methods of each kind and six seeds; a data set that the paper has."""
    first = teacher()
    spec = first.spec.replace(dataset="cars")
    yield first.model_copy(update={"spec": spec, "id": spec.id, "environment": {"device": HOSTILE}})
    recalls = {"triplet": 0.08, "fitnet": 0.11, "attention": 0.12, "rkd-d": 0.10, "rkd-da": 0.2, "fitnet+rkd-da": 0.095}
    for number, (method, recall) in enumerate(recalls.items()):
        taught = {} if method == "triplet" else {"teacher": spec}
        for seed in range(6):
            for dim in (8, 16):
                score = recall + dim / 1000 + (number * 7 + seed * 5) % 11 / 1000
                yield record(method, score, dataset="cars", seed=seed, dim=dim, **taught)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    home = tmp_path_factory.mktemp("page")
    write_costs(home / "glyphs" / "quick", golden_costs())
    kinds = {**KINDS, "fitnet+rkd-da": "mixed"}
    folders = (
        Folder(home / "glyphs" / "quick", list(golden_records()), list(golden_tuning()), kinds),
        Folder(home / "cars" / "heads", list(cars_records()), [], kinds),
    )
    one, two = (folder.part for folder in folders)
    together, alone = home / "together.html", home / "alone.html"
    brief = one.brief("glyphs/quick/report.html"), two.brief("cars/heads/report.html")
    together.write_text(page("Several <parts>", brief), encoding="utf-8")
    alone.write_text(page("One part", [one]), encoding="utf-8")
    return Pages(brief, (one, two), together, alone)


def program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    binary, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path of a driver, Selenium looks for none on the network.
    found = Chrome(options, Service(driver))
    found.set_script_timeout(120)  # the default is too short on a machine that is busy
    yield found
    found.quit()


@pytest.fixture
def browser(chrome: Chrome, pages: Pages) -> Iterator[Chrome]:
    """The page of both parts, wide and light, as just opened; whatever a test does with it, the console stays empty."""
    show(chrome, pages.together)
    yield chrome
    assert chrome.get_log("browser") == []


def show(browser: Chrome, file: Path, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme_of = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_of)
    browser.get(file.as_uri())
    unfold(browser)


def unfold(browser: Chrome) -> None:
    """Open all parts, and wait for what they hold."""
    browser.execute_async_script(
        """for (const part of document.querySelectorAll("details.part")) part.open = true;
           requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0])))"""
    )


def choose(browser: Chrome, id: str, text: str) -> None:
    """As from a keyboard: Selenium's own way sends other events than a browser does."""
    field = browser.find_element("id", id)
    field.send_keys(Keys.HOME if text == "all" else text)
    assert Select(field).first_selected_option.text == text


def visible(browser: Chrome) -> list[dict[str, Any]]:
    """The lines of tables that a reader can get to, with what they show and where."""
    return browser.execute_script(
        """return [...document.querySelectorAll("tbody tr")].filter((row) => row.checkVisibility()).map((row) => ({
             part: row.closest("section").dataset.set,
             table: row.closest(".table").querySelector("h3").textContent,
             cells: [...row.cells].map((cell) => cell.innerText.trim())}))"""
    )


def count(browser: Chrome) -> str:
    return browser.find_element("id", "count").text


def lines_where(parts: Sequence[Part], fits: Callable[[int | None, Line], bool]) -> list[tuple[str, str, list[str]]]:
    """Of the tables that the page was made from, the lines that fit: part, table and texts."""
    return [
        (one.name, table.title, [value.text for value in line.values])
        for one in parts
        for table in one.tables
        for line in table.lines
        if fits(table.dim, line)
    ]


def assert_left(browser: Chrome, parts: Sequence[Part], fits: Callable[[int | None, Line], bool]) -> None:
    """Just those lines are visible that fit, and their number and headings are right."""
    expected = lines_where(parts, fits)
    found = visible(browser)
    assert [(one["part"], one["table"]) for one in found] == [line[:2] for line in expected]
    for one, (_, _, texts) in zip(found, expected, strict=True):
        assert one["cells"][1].split("\n")[0] == texts[1]
    assert count(browser) == ("1 line" if len(expected) == 1 else f"{len(expected)} lines")
    headings = browser.execute_script(
        """return [...document.querySelectorAll(".table h3")].filter((head) => head.checkVisibility())
             .map((head) => [head.closest("section").dataset.set, head.textContent])"""
    )
    assert {tuple(head) for head in headings} == {line[:2] for line in expected}


# The source.


def parsed(file: Path) -> Element:
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["together", "alone"])
def document(request: pytest.FixtureRequest, pages: Pages) -> Element:
    return parsed(getattr(pages, request.param))


def title_of(document: Element) -> str:
    return document.find(".//h1").text


def test_the_html_is_valid_and_every_reference_has_its_target(document):
    ids = Counter(found for one in document.iter() if (found := one.get("id")) is not None)
    assert max(ids.values()) == 1, ids.most_common(3)
    links = [found for one in document.iter("a") if (found := one.get("href")) is not None]
    pages = [link for link in links if not link.startswith("#")]
    assert links and pages == ["glyphs/quick/report.html", "cars/heads/report.html"] * ("Several" in title_of(document))
    named = [
        id
        for one in document.iter()
        for name in ("aria-labelledby", "aria-describedby", "for")
        for id in one.get(name, "").split()
    ]
    assert named and {*named, *(link[1:] for link in links if link not in pages)} <= ids.keys()
    assert all(image.get("alt") for image in document.iter("img"))


def test_the_source_names_no_address(document):
    """But in text that a reader reads."""
    for one in document.iter():
        if one.tag in ("style", "script"):
            assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(", one.text or "")
        for name, value in one.items():
            assert not value.startswith(("http:", "https:", "//")), (one.tag, name, value)
            if name == "src":
                assert value.startswith("data:")


def test_every_line_of_a_run_has_its_command_and_the_runs_their_facts(document):
    commands = [code.text for one in document.iter("td") for code in one.iter("code")]
    assert commands and all(
        line.startswith("python -m benchmark run --like ") for command in commands for line in command.split("\n")
    )
    facts = [json.loads("".join(one.itertext())) for one in document.iter("pre")]
    assert bool(facts) == ("Several" not in title_of(document))
    assert all({"spec", "seconds", "environment"} <= one.keys() for one in facts)


def test_what_a_record_says_is_text(pages):
    found = parsed(pages.together)
    cars = pages.together.with_name("cars.html")
    cars.write_text(page("Cars", pages.whole[1:]), encoding="utf-8")
    cells = parsed(cars).iter("td")
    assert [one.text for one in cells if "R&D" in "".join(one.itertext()) and one.text] == [HOSTILE]
    assert not list(found.iter("b")) and found.find(".//h1").text == "Several <parts>"


def test_parts_whose_names_are_alike_have_ids_of_their_own():
    folder = Folder(Path("any"), [teacher(), record(), student("rkd-d", 0.6)], [], KINDS)
    names = (("a-b", "c"), ("a", "b-c"), ("ø", "c"), ("日本", "c"))
    documents = [dataclasses.replace(folder.document, dataset=a, preset=b) for a, b in names]
    keys = [Part(one, (), {}).key for one in documents]
    assert len(set(keys)) == len(names) and not any(re.search(r"\s", key) for key in keys)


# In a browser.


def test_nothing_is_fetched_and_nothing_could_be(browser, pages):
    show(browser, pages.alone)
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [one["params"] for one in sent if one["method"] == "Network.requestWillBeSent"]
    ours = {one["request"]["url"] for one in requests if one["documentURL"] == browser.current_url}
    assert browser.current_url in ours and len(ours) > 3
    assert all(url.startswith("data:") for url in ours - {browser.current_url})
    refused = browser.execute_async_script(
        """const done = arguments[0], found = [];
           document.addEventListener("securitypolicyviolation", (event) => {
             found.push(event.effectiveDirective);
             if (found.length === 3) done(found.sort());
           });
           fetch("http://127.0.0.1:9/").catch(() => {});
           new Image().src = "http://127.0.0.1:9/image";
           const script = document.createElement("script");
           script.src = "http://127.0.0.1:9/script";
           document.head.append(script);"""
    )
    assert refused == ["connect-src", "img-src", "script-src-elem"]
    assert len(browser.get_log("browser")) >= 3  # the refusals, and so that none is left


def number(text: str) -> float | None:
    """The first of a cell, as a reader sees it."""
    found = re.search(r"[-+]?\d+(\.\d+)?", text.replace("−", "-"))
    return None if text == DASH or found is None else float(found[0])


def column_of(browser: Chrome, button: Any) -> list[str]:
    return browser.execute_script(
        """const head = arguments[0].closest("th");
           return [...head.closest("table").tBodies[0].rows].map((row) => row.cells[head.cellIndex].textContent.trim())""",
        button,
    )


def assert_sorted(column: Sequence[str], *, descending: bool) -> None:
    """Numbers in order, then all that has none."""
    values = [number(text) for text in column]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=descending), column
    assert values == known + [None] * (len(values) - len(known)), column


def test_a_click_on_a_head_sorts_by_number_up_and_down(browser, pages):
    """Of every column of numbers of every table of a folder's own page."""
    show(browser, pages.alone)
    columns = browser.execute_script(
        """return [...document.querySelectorAll("th.number button")].map((button) => {
             const head = button.closest("th"), table = head.closest("table");
             const texts = () => [...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex].textContent.trim());
             const marks = () => [...table.querySelectorAll("th[aria-sort]")].map((one) => [one === head, one.ariaSort]);
             const states = [[texts(), marks()]];
             for (const click of [1, 2]) {
               button.click();
               states.push([texts(), marks()]);
             }
             return states;
           })"""
    )
    assert len(columns) > 50 and sum(DASH in before for (before, _), _, _ in columns) > 5
    for (before, _), (up, up_marks), (down, down_marks) in columns:
        assert_sorted(up, descending=False)
        assert_sorted(down, descending=True)
        assert Counter(up) == Counter(down) == Counter(before)
        assert (up_marks, down_marks) == ([[True, "ascending"]], [[True, "descending"]])


def test_the_page_of_several_leaves_details_to_each_folders_own(pages):
    for brief, whole in zip(pages.parts, pages.whole, strict=True):
        left = {table.key for table in whole.tables} - {table.key for table in brief.tables}
        assert left == {"runs", "likeness", *(table.key for table in whole.tables if table.dim is not None)}


def test_sorting_is_not_by_text_and_whole_lines_move(browser, pages):
    """9 before 10; a mouse and a keyboard sort alike."""
    cars = pages.alone.with_name("cars.html")
    cars.write_text(page("Cars", pages.whole[1:]), encoding="utf-8")
    show(browser, cars)
    button = browser.find_element("xpath", "(//h3[text()='d = 8']/..//th/button)[starts-with(., 'R@1')]")
    table = button.find_element("xpath", "ancestor::table")

    def lines() -> list[list[str]]:
        return [line.text.split() for line in table.find_elements("css selector", "tbody tr")]

    before = lines()
    texts = column_of(browser, button)
    assert sorted(texts) != sorted(texts, key=float)
    button.click()
    assert [float(text) for text in column_of(browser, button)] == sorted(map(float, texts))
    up = lines()
    assert sorted(up) == sorted(before) != up
    button.click()
    down = lines()
    browser.refresh()
    unfold(browser)
    button = browser.find_element("xpath", "(//h3[text()='d = 8']/..//th/button)[starts-with(., 'R@1')]")
    table = button.find_element("xpath", "ancestor::table")
    browser.execute_script("arguments[0].focus()", button)
    for expected, order in ((up, "ascending"), (down, "descending"), (up, "ascending")):
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert lines() == expected
        assert button.find_element("xpath", "..").get_attribute("aria-sort") == order


def test_a_column_of_words_sorts_too(browser):
    button = browser.find_element("xpath", "(//h3[text()='Recall@1']/..//th/button)[2]")
    button.click()
    names = column_of(browser, button)
    assert names == sorted(names, key=str.lower) and len(set(names)) > 5
    button.click()
    assert column_of(browser, button) == sorted(names, key=str.lower, reverse=True)


def test_nothing_is_hidden_at_first(browser, pages):
    assert_left(browser, pages.parts, lambda dim, line: True)


@pytest.mark.parametrize("role", ["relational", "posthoc", "mixed", "teacher"])
def test_the_filter_of_kinds(browser, pages, role):
    """A line that is of no kind, such as a cost, stays."""
    choose(browser, "role", ROLES[role])
    assert_left(browser, pages.parts, lambda dim, line: line.role in (role, ""))
    choose(browser, "role", "all")
    assert_left(browser, pages.parts, lambda dim, line: True)


@pytest.mark.parametrize("wanted", [16, 32, 128])
def test_the_filter_of_dimensions(browser, pages, wanted):
    """The table of one dimension is there with its teacher, those of others are not; nor are other columns d = N."""
    choose(browser, "dim", str(wanted))
    assert_left(
        browser, pages.parts, lambda dim, line: dim == wanted if dim is not None else line.dim in (None, wanted)
    )
    heads = browser.execute_script(
        """return [...document.querySelectorAll("th")].filter((head) => head.checkVisibility())
             .map((head) => head.innerText.trim()).filter((text) => text.startsWith("d = "))"""
    )
    assert {text.split()[2] for text in heads} == ({str(wanted)} if wanted != 128 else set())


def of_method(parts: Sequence[Part], wanted: str) -> Callable[[int | None, Line], bool]:
    """Whether a line of a table is of a method that has that in its name."""
    columns = {
        id(line): [column.name in ("method", "methods") for column in table.columns]
        for part in parts
        for table in part.tables
        for line in table.lines
    }

    def fits(dim: int | None, line: Line) -> bool:
        named = zip(line.values, columns[id(line)], strict=True)
        return any(wanted in value.text.lower() for value, holds in named if holds)

    return fits


@pytest.mark.parametrize("wanted", ["rkd", "rkd-da", "forgotten", "triplet"])
def test_the_filter_of_methods(browser, pages, wanted):
    """By name, whatever the case; not by the group, which is RKD for every relational method."""
    fits = of_method(pages.parts, wanted)
    browser.find_element("id", "words").send_keys(f" {wanted.upper()} ")
    assert_left(browser, pages.parts, fits)
    browser.find_element("id", "words").send_keys(Keys.ENTER)  # sends no form
    assert_left(browser, pages.parts, fits)
    lines = [line for part in pages.parts for table in part.tables for line in table.lines]
    assert 0 < sum(fits(None, line) for line in lines) < len(lines)
    if wanted == "rkd":
        assert any(line.role == "families" and not fits(None, line) for line in lines)


@pytest.mark.parametrize("wanted", ["one-cycle", "conv4", "relational"])
def test_a_word_of_no_method_leaves_no_line(browser, pages, wanted):
    """Not the spec and command that are folded away, not the network, not the group."""
    browser.find_element("id", "words").send_keys(wanted)
    assert_left(browser, pages.parts, lambda dim, line: False)


def test_filters_work_together(browser, pages):
    (_, cars) = pages.parts
    choose(browser, "set", cars.name)
    assert_left(browser, [cars], lambda dim, line: True)
    choose(browser, "role", ROLES["individual"])
    choose(browser, "dim", "8")
    browser.find_element("id", "words").send_keys("fitnet")
    named = of_method([cars], "fitnet")

    def fits(dim: int | None, line: Line) -> bool:
        its = line.dim if dim is None else dim
        return line.role in ("individual", "") and its in (None, 8) and named(dim, line)

    assert_left(browser, [cars], fits)
    assert visible(browser)


def test_how_opens(browser):
    summary = browser.find_element("css selector", "td details summary")
    code = browser.find_element("css selector", "td details code")
    assert not code.is_displayed()
    summary.click()
    assert code.is_displayed() and code.text.startswith("python -m benchmark run")
    summary.send_keys(Keys.ENTER)
    assert not code.is_displayed()


def test_links_lead_to_what_the_filter_bar_does_not_hide(browser, pages):
    show(browser, pages.alone)
    for link in browser.find_elements("css selector", "nav a")[1:4]:
        browser.execute_script("scrollTo(0, 0)")
        link.click()
        top, bar = browser.execute_script(
            """return [document.querySelector(decodeURIComponent(location.hash)).getBoundingClientRect().top,
                       document.querySelector(".filters").getBoundingClientRect().bottom]"""
        )
        assert top >= bar


def test_parts_come_when_they_are_opened_or_sought(browser, pages):
    """Few elements at first, so that a page of many data sets is there at once; nothing is missed by a search."""
    browser.get(pages.together.as_uri())
    size = "return document.querySelectorAll('*').length"
    closed = browser.execute_script(size)
    assert visible(browser) == [] and count(browser) == "" and closed < 300
    browser.find_element("css selector", "nav a[href='#cars--heads']").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert {line["part"] for line in visible(browser)} == {"cars, heads"}
    browser.find_element("id", "words").send_keys("rkd-d")
    assert {line["part"] for line in visible(browser)} == {part.name for part in pages.parts}
    assert browser.execute_script(size) > 10 * closed
    assert pages.together.stat().st_size < pages.alone.stat().st_size


def test_a_telephone_shows_a_number_beside_each_method(browser, pages):
    """Of Recall@1 at the first dimension, without scrolling; the other columns are there when they are asked for."""
    show(browser, pages.alone, NARROW)
    in_sight = """return [...document.querySelectorAll("h3")].filter((head) => head.textContent === "Recall@1").map((head) => {
        const region = head.closest(".table").querySelector(".scroll"), box = region.getBoundingClientRect();
        const cells = [...region.querySelector("tbody tr").cells].filter((cell) => cell.checkVisibility());
        const numbers = cells.filter((cell) => cell.classList.contains("number"));
        return [cells.length, numbers.filter((cell) => cell.getBoundingClientRect().right <= box.right).length];
      })[0]"""
    shown, numbers = browser.execute_script(in_sight)
    assert numbers >= 1
    browser.find_element("id", "all").click()
    assert browser.execute_script(in_sight)[0] > shown
    show(browser, pages.alone)
    assert not browser.find_element("id", "all").is_displayed()


@pytest.mark.parametrize("file", ["together", "alone"])
def test_a_telephone_scrolls_tables_but_not_the_page(browser, pages, file):
    show(browser, getattr(pages, file), NARROW)

    def assert_fits() -> None:
        content, window = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert window == NARROW[0] and content <= window

    assert_fits()
    regions = browser.execute_script(
        """return [...document.querySelectorAll(".scroll")].map((region) => {
             region.scrollLeft = 1e6;
             const [box, head] = [region, region.querySelector("th:last-child")].map((one) => one.getBoundingClientRect());
             const name = region.querySelector("tbody td:nth-child(2)").getBoundingClientRect();
             return {over: region.scrollWidth > region.clientWidth, end: head.right <= box.right, named: name.left >= box.left};
           })"""
    )
    assert sum(region["over"] for region in regions) > 3
    assert all(region["end"] and region["named"] for region in regions)  # the method stays in sight
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert_fits()


def test_both_colour_schemes(browser, pages):
    def colours(scheme: str) -> tuple[str, str]:
        show(browser, pages.together, scheme=scheme)
        return tuple(
            browser.execute_script(
                "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
            )
        )

    (light, dark_text), (dark, light_text) = colours("light"), colours("dark")
    assert light != dark and dark_text != light_text
    assert sum(map(int, re.findall(r"\d+", light))) > 600 > 150 > sum(map(int, re.findall(r"\d+", dark)))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser, pages, scheme, size):
    """Every rule of axe-core that is of serious or critical impact; of the file that a package bundles."""
    show(browser, pages.together, size, scheme)
    browser.execute_script(
        """for (const table of document.querySelectorAll("tbody")) {
             for (const row of [...table.rows].slice(12)) row.remove();  // thousands of cells that are alike take long
             for (const how of table.querySelectorAll("details")) how.open = how.closest("tr").rowIndex < 4;
           }"""
    )
    browser.execute_script(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "axe.run(document, {resultTypes: ['violations']}).then(arguments[0], (error) => arguments[0](String(error)))"
    )
    assert found["passes"] and tuple(map(int, found["testEngine"]["version"].split("."))) >= (4, 10)
    serious = [
        (one["id"], one["help"], [node["html"] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
