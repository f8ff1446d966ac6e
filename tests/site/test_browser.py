"""The pages in Chromium, opened from a folder: they work, fetch nothing, and run no name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm4rec_bench.site.folder import write_site
from llm4rec_bench.site.text import plain
from tests.site.conftest import TEXTS, Runs, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

_QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), "")
    if not found:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def place(hostile: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of 34 systems whose every text means harm."""
    folder = tmp_path_factory.mktemp("site") / "a folder & more"
    write_site(folder, hostile)
    return folder


@contextmanager
def opened(browser: Browser, path: Path, part: str = "", **context: Any) -> Iterator[Page]:
    """A page; fails at the end where it told of an error, asked anything or fetched elsewhere."""
    told: list[str] = []
    with browser.new_context(**({"viewport": {"width": 1400, "height": 900}} | context)) as session:
        page = session.new_page()
        page.on("console", lambda message: told.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on(
            "dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        page.on(
            "request", lambda by: by.url.startswith("file:") or told.append(f"fetched: {by.url}")
        )
        page.goto(path.as_uri() + part)
        yield page
        page.wait_for_timeout(50)
    assert told == []


def column(page: Page, track: str, name: str) -> list[str]:
    """The cells of a column of a board, as they are shown, without those of references."""
    return page.evaluate(
        """([track, name]) => {
          const table = document.getElementById(track).parentElement.querySelector("table.board");
          const heads = [...table.tHead.rows[0].cells].map((by) => by.innerText.trim());
          const place = heads.indexOf(name);
          return [...table.tBodies[0].rows].filter((row) => !row.classList.contains("ref"))
            .map((row) => row.cells[place].innerText);
        }""",
        [track, name],
    )


def head(page: Page, track: str, name: str) -> Any:
    return page.locator(f"section[aria-labelledby={track}] table.board th", has_text=name).first


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.split()[0].replace(",", "")) for cell in cells]


def wait_sorted(by: Any, how: str) -> None:
    """Wait until a head says how its column is sorted; it does so a moment after the click."""
    by.page.wait_for_function(
        "([head, how]) => head.getAttribute('aria-sort') === how", arg=[by.element_handle(), how]
    )


def test_boards_sort_by_click_and_by_key(browser: Browser, place: Path) -> None:
    with opened(browser, place / "boards" / "toy-v1.html") as page:
        by_tokens = head(page, "ranking", "tokens")
        by_tokens.click()
        wait_sorted(by_tokens, "descending")
        found = numbers(column(page, "ranking", "tokens"))
        assert found == sorted(found, reverse=True) and len(set(found)) == len(TEXTS)
        by_tokens.locator("[role=button]").focus()
        page.keyboard.press("Enter")
        wait_sorted(by_tokens, "ascending")
        assert numbers(column(page, "ranking", "tokens")) == sorted(found)
        # The other table stays as it was.
        assert head(page, "retrieval", "tokens").get_attribute("aria-sort") is None
        by_system = head(page, "ranking", "system")
        by_system.click()
        wait_sorted(by_system, "ascending")
        assert len(column(page, "ranking", "system")) == len(TEXTS)


def test_boards_are_searched_and_filtered_and_keep_references(
    browser: Browser, place: Path
) -> None:
    with opened(browser, place / "boards" / "toy-v1.html") as page:
        assert len(column(page, "ranking", "system")) == len(TEXTS)
        page.get_by_label("Search").fill("quote")
        assert column(page, "ranking", "system") == ["> quote"]
        assert "2 of 68 rows" in page.locator("#matches").inner_text()
        assert page.locator("section[aria-labelledby=ranking] tr.ref").count() == 4
        page.get_by_role("button", name="Clear").click()
        page.wait_for_function("document.getElementById('matches').textContent === ''")
        assert len(column(page, "ranking", "system")) == len(TEXTS)
        hardware = page.locator("select[data-facet='3']")
        options = hardware.locator("option").all_inner_texts()
        assert sorted(options[1:]) == sorted({plain(text) for text in TEXTS})
        hardware.select_option(label="# heading")
        assert column(page, "ranking", "hardware") == ["# heading"]
        page.get_by_label("Search").fill("nothing is called so")
        assert column(page, "ranking", "system") == []


@pytest.mark.parametrize(
    "name", ["index.html", "boards/toy-v1.html", "compare.html", "tasks/toy-v1.html"]
)
@pytest.mark.parametrize("width", [360, 390, 1400])
def test_no_page_scrolls_sideways(browser: Browser, place: Path, name: str, width: int) -> None:
    size = {"width": width, "height": 800}
    with opened(browser, place / name, viewport=size) as page:
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


@pytest.mark.parametrize("width", [390, 1000])
def test_systems_stay_in_sight_and_cover_no_rank(browser: Browser, place: Path, width: int) -> None:
    size = {"width": width, "height": 800}
    with opened(browser, place / "boards" / "toy-v1.html", viewport=size) as page:
        left, covered, moved = page.evaluate(
            """() => {
              const table = document.querySelector("table.board");
              const scroll = table.closest(".scroll");
              scroll.scrollLeft = 300;
              const [rank, system] = [...table.tHead.rows[0].cells]
                .slice(0, 2).map((by) => by.getBoundingClientRect());
              const hidden = rank.right <= scroll.getBoundingClientRect().left;
              return [system.left, hidden ? 0 : rank.right - system.left, scroll.scrollLeft];
            }"""
        )
        assert moved == 300
        assert 0 < left < width / 4
        assert covered < 1


def test_hostile_names_do_nothing(browser: Browser, place: Path) -> None:
    made = """() => [...document.querySelectorAll("*")].filter((by) =>
      [...by.attributes].some((one) => one.name.startsWith("on"))
      || ["IMG", "B", "IFRAME", "STYLE", "FORM"].includes(by.tagName) && !by.id
      || by.tagName === "SCRIPT" && !by.src && by.type !== "application/json").length"""
    for name in ("index.html", "boards/toy-v1.html", "compare.html"):
        with opened(browser, place / name) as page:
            assert page.evaluate(made) == 0
    for number, text in enumerate(TEXTS):
        path = place / "entries" / f"entry-{number:02}.html"
        with opened(browser, path, viewport={"width": 390, "height": 800}) as page:
            assert page.locator("h1").text_content() == plain(text)
            page.evaluate("for (const by of document.querySelectorAll('details')) by.open = true")
            assert page.evaluate(made) == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert page.locator("table .whiskers svg").count() == 2


def test_two_systems_are_compared(browser: Browser, place: Path, runs: Runs) -> None:
    part = "#task=toy-v1&track=ranking&a=entry-05&b=entry-06"
    with opened(browser, place / "compare.html", part) as page:
        assert page.locator("#track").input_value() == "ranking"
        assert page.locator("#a").input_value() == "entry-05"
        assert "No difference is shown" in page.locator("#verdict").inner_text()
        heads = page.locator("#result thead th").all_inner_texts()
        assert heads == [plain(TEXTS[5]), plain(TEXTS[6]), "difference"]
        assert "±0.0000" in page.locator("#result tbody").inner_text()
        page.locator("#swap").click()
        assert page.locator("#result thead th").first.inner_text() == plain(TEXTS[6])
        assert "a=entry-06" in page.url and "b=entry-05" in page.url
        page.locator("#b").select_option("entry-06")
        assert "two different systems" in page.locator("#verdict").inner_text()
        page.locator("#track").select_option("retrieval")
        told = page.locator("#result").inner_text()
        assert all(metric in told for metric in runs.scores["retrieval"].metrics)
    with opened(browser, place / "entries" / "entry-03.html") as page:
        page.get_by_role("link", name="compare it").click()
        page.wait_for_selector("#result table")
        assert page.locator("#a").input_value() == "entry-03"
    with opened(browser, place / "compare.html", "#a=<img>&task=%22&track=none") as page:
        assert page.locator("#a").input_value() == "entry-00"


def test_a_difference_beyond_chance_is_told_either_way_round(
    browser: Browser, tmp_path: Path
) -> None:
    from llm4rec_bench.leaderboard import board
    from llm4rec_bench.site import build_site
    from tests.conftest import ROOT

    for name in ("als", "random", "popularity"):
        shutil.copytree(ROOT / "submissions" / name, tmp_path / "submissions" / name)
    build_site(tmp_path / "site", tmp_path / "submissions", None)
    table = next(by for by in board(tmp_path / "submissions") if by.task == "toy-v1")
    places = {row.entry.card.name: row.rank for row in table.rows}
    assert places["als"] < places["random"]
    difference = "{:.4f}"
    values = {row.entry.card.name: row.entry.score.metrics["ndcg@10"].value for row in table.rows}
    shown = difference.format(abs(values["als"] - values["random"]))
    for one, other, sign in (("als", "random", "+"), ("random", "als", "−")):
        part = f"#task=toy-v1&track={table.track}&a={one}&b={other}"
        with opened(browser, tmp_path / "site" / "compare.html", part) as page:
            told = page.locator("#verdict").inner_text()
            assert "A difference is shown" in told
            assert "ALS (implicit) is better than Random" in told
            assert f"Difference {sign}{shown}" in told


def test_the_theme_follows_the_system_and_the_button(browser: Browser, place: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, place / "index.html", color_scheme="dark") as page:
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Use light colours").click()
        light = page.evaluate(ground)
        assert light != dark
        page.goto((place / "compare.html").as_uri())
        assert page.evaluate(ground) == light  # it is kept
        page.get_by_role("button", name="Use dark colours").click()
        assert page.evaluate(ground) == dark
    with opened(browser, place / "index.html", color_scheme="light") as page:
        assert page.evaluate(ground) == light


def test_every_control_is_reached_by_keyboard_and_shows_its_focus(
    browser: Browser, place: Path
) -> None:
    with opened(browser, place / "boards" / "toy-v1.html") as page:
        reached = []
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(
                """() => { const by = document.activeElement, style = getComputedStyle(by);
                  return [by.id || by.dataset.facet || by.textContent.trim() || by.tagName,
                          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0]; }"""
            ))  # fmt: skip
        assert all(visible for _, visible in reached), reached
        names = [name for name, _ in reached]
        for expected in ("Skip to the content", "theme", "search", "0", "1", "2", "3", "Clear"):
            assert expected in names
    with opened(browser, place / "index.html") as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")


def test_points_of_a_plot_tell_their_numbers(browser: Browser, place: Path) -> None:
    with opened(browser, place / "boards" / "toy-v1.html") as page:
        points = page.locator("svg.plot a")
        assert points.count() == 4 * len(TEXTS)
        assert page.locator("svg.plot title").count() == 0  # or they would be shown twice
        points.nth(3).focus()
        tip = page.locator(".tip")
        assert tip.is_visible() and "ndcg@10" in tip.inner_text()
        assert tip.inner_text() == plain(points.nth(3).get_attribute("aria-label"))
        page.keyboard.press("Escape")
        assert not tip.is_visible()
        box = page.locator("svg.plot").first.bounding_box()
        assert box is not None and box["width"] > 600


def test_a_link_to_a_track_opens_it(browser: Browser, place: Path) -> None:
    with opened(browser, place / "entries" / "entry-01.html", "#toy-v1-ranking") as page:
        assert page.locator("#toy-v1-ranking").get_attribute("open") is not None
        assert page.locator("#toy-v1-retrieval").get_attribute("open") is None


def test_pages_are_read_without_scripts(browser: Browser, place: Path) -> None:
    with opened(browser, place / "boards" / "toy-v1.html", java_script_enabled=False) as page:
        assert page.locator("table.board tbody tr").count() > 2 * len(TEXTS)
        assert not page.locator("#filter").is_visible()
    with opened(browser, place / "compare.html", java_script_enabled=False) as page:
        assert page.get_by_text("needs JavaScript").is_visible()


def test_inline_script_is_not_run_even_if_it_stood_there(browser: Browser, place: Path) -> None:
    path = place / "broken.html"
    text = (place / "index.html").read_text("utf-8")
    bad = "<h1><img src=x onerror='document.title=1'><script>document.title = 2</script>"
    path.write_text(text.replace("<h1>", bad, 1), "utf-8")
    with browser.new_context() as session:
        page = session.new_page()
        page.goto(path.as_uri())
        page.wait_for_timeout(50)
        assert page.title() == "Board · llm4rec-bench"
    path.unlink()
