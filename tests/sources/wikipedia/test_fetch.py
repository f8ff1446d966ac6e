"""Fetching leads from a wiki that may be busy, gone, wrong or hostile. All texts are made up."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm4rec_bench import TaskDataError, UsageError
from llm4rec_bench.sources.wikipedia import fetch as fetching
from llm4rec_bench.sources.wikipedia import site as asked_site
from llm4rec_bench.sources.wikipedia.fetch import (
    Counts,
    Page,
    Wanted,
    fetch_pages,
    parse_fetched,
    read_fetched,
)
from llm4rec_bench.sources.wikipedia.lead import (
    LARGEST_TEXT,
    candidates,
    is_page,
    lead_text,
    tells_of_film,
)
from tests.conftest import ROOT
from tests.wikiserver import LIMIT, Fault, WikiServer

CONTACT = "benchmark@example.org"
LAMP = Wanted("7", "Lamplighter, The", 1996)
LAMP_HTML = "<p><b>The Lamplighter</b> is a 1996 drama film about a town without light.</p>"
LAMP_TEXT = "The Lamplighter is a 1996 drama film about a town without light."


@pytest.fixture
def wiki() -> Iterator[WikiServer]:
    pytest.importorskip("mwclient")
    with WikiServer() as server:
        yield server


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open() -> Iterator[None]:
    """A connection left open warns here, and fails this module rather than another."""
    yield
    gc.collect()


class Pauses(list[float]):
    """Waits that only take note of how long they should have been."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def fetch(wiki: WikiServer, out: Path, *wanted: Wanted, **more: Any) -> Counts:
    words = {"contact": CONTACT, "site": wiki.url, "pause": Pauses()} | more
    return fetch_pages(wanted, out, **words)


def asked(wiki: WikiServer, action: str) -> list[dict[str, str]]:
    return [one.words for one in wiki.asked if one.words["action"] == action]


def titles(wiki: WikiServer) -> list[list[str]]:
    return [words["titles"].split("|") for words in asked(wiki, "query") if "titles" in words]


def film(name: str, year: int) -> str:
    return f"<p>{name} is a {year} film of no note.</p>"


# What is fetched.


def test_a_row_says_all_that_is_needed_to_find_the_text_again(
    tmp_path: Path, wiki: WikiServer
) -> None:
    wiki.add("The Lamplighter (1996 film)", LAMP_HTML)
    out = tmp_path / "new" / "fetched.jsonl"
    assert fetch(wiki, out, LAMP) == Counts(fetched=1, missing=0, kept=0)
    assert read_fetched(out) == [
        Page(
            item_id="7",
            page="The_Lamplighter_(1996_film)",
            page_id=100,
            revision=101,
            timestamp="2020-01-01T00:00:00Z",
            url=f"{wiki.url}index.php?title=The_Lamplighter_%281996_film%29&oldid=101",
            licence="CC BY-SA 4.0",
            sha256=hashlib.sha256(LAMP_TEXT.encode()).hexdigest(),
            text=LAMP_TEXT,
        )
    ]
    assert parse_fetched(out.read_bytes(), "fetched.jsonl") == read_fetched(out)


def test_the_site_is_told_who_asks(tmp_path: Path, wiki: WikiServer) -> None:
    import mwclient

    wiki.add("The Lamplighter", LAMP_HTML)
    fetch(wiki, tmp_path / "out", LAMP)
    version = re.escape(mwclient.__version__)
    agents = {one.agent for one in wiki.asked}
    assert len(wiki.asked) == 2
    assert len(agents) == 1
    assert re.fullmatch(
        r"llm4rec-bench/[0-9.]+ \(https://github.com/llm4rec-bench/llm4rec-bench; "
        rf"benchmark@example\.org\) mwclient/{version}",
        agents.pop(),
    )


def test_the_surest_name_that_exists_is_taken(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", "<p>The Lamplighter is a 1996 film, but not the one.</p>")
    wiki.add("The Lamplighter (film)", LAMP_HTML)
    fetch(wiki, tmp_path / "out", LAMP)
    assert [page.page for page in read_fetched(tmp_path / "out")] == ["The_Lamplighter_(film)"]
    assert len(asked(wiki, "parse")) == 1


def test_spellings_and_redirects_are_followed(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamp Lighter", LAMP_HTML)
    wiki.pages.redirects["Lamplighter's night (film)"] = ("Lamplighter's Night", "")
    wiki.pages.redirects["Lamplighter's Night"] = ("The Lamp Lighter", "")
    wiki.pages.redirects["Round (film)"] = ("Round", "")
    wiki.pages.redirects["Round"] = ("Round (film)", "")
    films = [Wanted("1", "lamplighter's night", None), Wanted("2", "round", None)]
    assert fetch(wiki, tmp_path / "out", *films) == Counts(1, 1, 0)
    (page,) = read_fetched(tmp_path / "out")
    assert (page.item_id, page.page) == ("1", "The_Lamp_Lighter")


def test_a_redirect_into_a_section_leads_nowhere(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("Films of 1996", "<p>Each film of 1996 was lit by lamps.</p>")
    wiki.pages.redirects["The Lamplighter (film)"] = ("Films of 1996", "Lamps")
    assert fetch(wiki, tmp_path / "out", LAMP) == Counts(0, 1, 0)


def test_disambiguations_and_other_namespaces_are_passed_over(
    tmp_path: Path, wiki: WikiServer
) -> None:
    listed = "<p>The Lamplighter may be a film of 1996 or a film of 1926.</p>"
    wiki.add("The Lamplighter (film)", listed, disambiguation=True)
    wiki.add("Talk: Cinema", "<p>Which film of 1996 is meant?</p>")
    wiki.add("The Lamplighter", LAMP_HTML)
    films = [LAMP, Wanted("8", "Talk: Cinema", 1996)]
    assert fetch(wiki, tmp_path / "out", *films) == Counts(1, 1, 0)
    assert read_fetched(tmp_path / "out")[0].page == "The_Lamplighter"


@pytest.mark.parametrize(
    "other",
    [
        "<p>The Lamplighter is an 1854 novel by nobody.</p>",
        "<p>The Lamplighter is a 1953 film about a lighthouse.</p>",
        "<p>The Lamplighter (born 1996) is a film director.</p>",
        f"<p>The Lamplighter is a song of 1996. {'It goes on. ' * 30} A film has it.</p>",
    ],
)
def test_what_is_no_such_film_is_passed_over(tmp_path: Path, wiki: WikiServer, other: str) -> None:
    wiki.add("The Lamplighter (1996 film)", other)
    assert fetch(wiki, tmp_path / "one", LAMP) == Counts(0, 1, 0)
    wiki.add("The Lamplighter", LAMP_HTML)
    assert fetch(wiki, tmp_path / "two", LAMP) == Counts(1, 0, 0)
    assert read_fetched(tmp_path / "two")[0].page == "The_Lamplighter"


def test_one_article_under_several_names_is_read_once(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", "<p>A lamplighter lights lamps.</p>")
    wiki.pages.redirects["The Lamplighter (film)"] = ("The Lamplighter", "")
    fetch(wiki, tmp_path / "out", LAMP)
    assert len(asked(wiki, "parse")) == 1


def test_requests_name_as_many_titles_as_the_site_takes(
    tmp_path: Path, wiki: WikiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [Wanted(str(n), f"Film number {n}", 1990) for n in range(25)]
    for one in films:
        wiki.add(f"{one.title} (film)", film(one.title, 1990))
    assert fetch(wiki, tmp_path / "out", *films) == Counts(25, 0, 0)
    assert [len(batch) for batch in titles(wiki)] == [LIMIT, LIMIT, 25]
    monkeypatch.setattr(fetching, "TITLES", LIMIT + 5)
    with pytest.raises(TaskDataError, match="refused a question with toomanyvalues"):
        fetch(wiki, tmp_path / "more", *films)


def test_requests_are_no_longer_than_servers_take(tmp_path: Path, wiki: WikiServer) -> None:
    films = [Wanted(str(n), f"{n} " + "ø" * 100, 1990) for n in range(10)]
    assert fetch(wiki, tmp_path / "out", *films) == Counts(0, 10, 0)
    assert [len(batch) for batch in titles(wiki)] == [5] * 10


def test_titles_that_no_article_has_are_not_asked_for(tmp_path: Path, wiki: WikiServer) -> None:
    films = [Wanted("1", "#1 | A [film]", 1990), Wanted("2", "\x07a", 1990), Wanted("3", "", 1990)]
    assert fetch(wiki, tmp_path / "out", *films) == Counts(0, 3, 0)
    assert wiki.asked == []


# Which revision.


def test_the_newest_revision_is_taken(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", film("Old", 1996), LAMP_HTML)
    fetch(wiki, tmp_path / "out", LAMP)
    (page,) = read_fetched(tmp_path / "out")
    assert (page.revision, page.timestamp, page.text) == (102, "2021-01-01T00:00:00Z", LAMP_TEXT)


@pytest.mark.parametrize(
    ("before", "revision"),
    [
        (datetime(2023, 1, 1, tzinfo=UTC), 103),
        (datetime(2022, 1, 1, tzinfo=UTC), 103),
        (datetime(2021, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 102),
        (datetime.fromisoformat("2021-01-01T01:00:00+01:00"), 102),
        (datetime.fromisoformat("2021-01-01T00:00:00+01:00"), 101),
    ],
)
def test_the_newest_revision_up_to_a_moment_is_taken(
    tmp_path: Path, wiki: WikiServer, before: datetime, revision: int
) -> None:
    wiki.add("The Lamplighter", *(film(name, 1996) for name in "ABC"))
    fetch(wiki, tmp_path / "out", LAMP, before=before)
    (page,) = read_fetched(tmp_path / "out")
    assert (page.revision, page.text[0]) == (revision, "ABC"[revision - 101])


def test_an_article_younger_than_the_moment_is_missing(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    before = datetime(2019, 1, 1, tzinfo=UTC)
    assert fetch(wiki, tmp_path / "out", LAMP, before=before) == Counts(0, 1, 0)


def test_a_revision_deleted_meanwhile_is_passed_over(tmp_path: Path, wiki: WikiServer) -> None:
    article = wiki.add("The Lamplighter", LAMP_HTML)
    answer = wiki.answer

    def deleting(words: dict[str, str]) -> dict[str, Any]:
        said = answer(words)
        article.revisions.clear()
        return said

    wiki.answer = deleting  # type: ignore[method-assign]
    assert fetch(wiki, tmp_path / "out", LAMP) == Counts(0, 1, 0)


# Going on.


def test_what_is_settled_is_not_asked_again(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    out, absent = tmp_path / "out", Wanted("8", "Unheard Of", 1990)
    told: list[tuple[int, int]] = []
    fetch(wiki, out, LAMP, absent, LAMP, progress=lambda *pair: told.append(pair))
    before, questions = out.read_bytes(), len(wiki.asked)
    assert fetch(wiki, out, absent, LAMP) == Counts(fetched=0, missing=0, kept=2)
    assert (out.read_bytes(), len(wiki.asked)) == (before, questions)
    assert told == [(1, 2), (2, 2)]
    assert (tmp_path / "out.missing").read_text() == '{"item_id":"8"}\n'


@pytest.mark.parametrize("left", [1, 9, 40, 200, -1])
def test_a_row_that_was_half_written_is_fetched_again(
    tmp_path: Path, wiki: WikiServer, left: int
) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    wiki.add("Second", film("Second", 1990))
    out, films = tmp_path / "out", (LAMP, Wanted("8", "Second", 1990))
    fetch(wiki, out, *films)
    whole = out.read_bytes()
    first, second = whole.splitlines(keepends=True)
    out.write_bytes(first + second[:left])
    assert fetch(wiki, out, *films) == Counts(fetched=1, missing=0, kept=1)
    assert out.read_bytes() == whole


def test_a_killed_call_is_gone_on_with(tmp_path: Path, wiki: WikiServer) -> None:
    films = [Wanted(str(n), f"Film number {n}", 1990) for n in range(4)]
    for one in films:
        last = wiki.add(one.title, film(one.title, 1990)) if one is films[2] else None
        wiki.held = str(last.revisions[0].id) if last else wiki.held
        if last is None:
            wiki.add(one.title, film(one.title, 1990))
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path\n"
        "from llm4rec_bench.sources.wikipedia.fetch import Wanted, fetch_pages\n"
        "films = [Wanted(str(n), f'Film number {n}', 1990) for n in range(4)]\n"
        f"fetch_pages(films, Path({str(out)!r}), contact={CONTACT!r}, site={wiki.url!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
        assert wiki.holding.wait(60)
        process.kill()
    assert [page.item_id for page in read_fetched(out)] == ["0", "1"]
    wiki.held = ""
    wiki.asked.clear()
    assert fetch(wiki, out, *films) == Counts(fetched=2, missing=0, kept=2)
    assert [page.item_id for page in read_fetched(out)] == ["0", "1", "2", "3"]
    assert titles(wiki) == [[t for one in films[2:] for t in candidates(one.title, one.year)]]


@pytest.mark.parametrize("held", [b"a user's notes", b"a\nb", b'{"item_id":"7"}\n'])
def test_another_file_is_left_as_it_is(tmp_path: Path, wiki: WikiServer, held: bytes) -> None:
    out = tmp_path / "out"
    out.write_bytes(held)
    with pytest.raises(TaskDataError, match="out"):
        fetch(wiki, out, LAMP)
    assert out.read_bytes() == held
    assert wiki.asked == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, wiki: WikiServer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TaskDataError, match=r"file/out\.missing: cannot be written"):
        fetch(wiki, tmp_path / "file" / "out", LAMP)


# A busy site.

BUSY = [
    Fault(429, {"Retry-After": "7"}),
    Fault(503, {"Retry-After": "7", "X-Database-Lag": "9", "MediaWiki-API-Error": "maxlag"}),
    Fault(
        200,
        {"Retry-After": "7", "X-Database-Lag": "9", "MediaWiki-API-Error": "maxlag"},
        b'{"error": {"code": "maxlag", "info": "Waiting for a server: 9 seconds lagged"}}',
    ),
    Fault(
        200,
        {"Retry-After": "7", "MediaWiki-API-Error": "ratelimited"},
        b'{"error": {"code": "ratelimited", "info": "You have exceeded your rate limit."}}',
    ),
]


@pytest.mark.parametrize("fault", BUSY, ids=["429", "503 maxlag", "200 maxlag", "ratelimited"])
def test_a_busy_site_is_waited_for_as_it_asks(
    tmp_path: Path, wiki: WikiServer, fault: Fault
) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    wiki.faults.extend([fault, fault])
    pause = Pauses()
    assert fetch(wiki, tmp_path / "out", LAMP, pause=pause).fetched == 1
    assert pause == [7.0, 7.0]


def test_a_wait_until_a_date_is_understood(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=60), usegmt=True)
    wiki.faults.extend([Fault(429, {"Retry-After": then}), Fault(429, {"Retry-After": past})])
    pause = Pauses()
    fetch(wiki, tmp_path / "out", LAMP, pause=pause)
    assert 50 < pause[0] <= 60
    assert pause[1] == 0


@pytest.mark.parametrize("header", [{}, {"Retry-After": "soon"}, {"Retry-After": "-3"}])
def test_a_busy_site_that_does_not_say_how_long_is_asked_ever_more_rarely(
    tmp_path: Path, wiki: WikiServer, header: dict[str, str]
) -> None:
    wiki.faults.extend([Fault(503, header)] * 20)
    pause = Pauses()
    with pytest.raises(TaskDataError) as refused:
        fetch(wiki, tmp_path / "out", LAMP, pause=pause)
    assert pause == [1, 2, 4, 8, 16]
    assert "cannot be reached (answered 503, too busy, 6 times)" in str(refused.value)
    assert "another call goes on from there" in str(refused.value)


@pytest.mark.parametrize("seconds", ["121", "999999999"])
def test_a_site_that_asks_for_a_long_wait_is_left_alone(
    tmp_path: Path, wiki: WikiServer, seconds: str
) -> None:
    wiki.faults.append(Fault(429, {"Retry-After": seconds}))
    pause = Pauses()
    with pytest.raises(TaskDataError, match=f"asks to wait {seconds} s"):
        fetch(wiki, tmp_path / "out", LAMP, pause=pause)
    assert (pause, len(wiki.asked)) == ([], 1)


def test_a_site_that_is_gone_is_named(tmp_path: Path, wiki: WikiServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        pause = Pauses()
        with pytest.raises(TaskDataError) as refused:
            fetch(wiki, tmp_path / "out", LAMP, site=f"http://127.0.0.1:{port}/w/", pause=pause)
    said = str(refused.value)
    assert said.startswith(f"127.0.0.1:{port}: cannot be reached (")
    assert "Connection refused" in said
    assert len(pause) == 5


def test_a_site_that_falls_silent_is_given_up(
    tmp_path: Path, wiki: WikiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_site, "TIMEOUT", 0.1)
    monkeypatch.setattr(asked_site, "TRIES", 1)
    wiki.held = str(wiki.add("The Lamplighter", LAMP_HTML).revisions[0].id)
    with pytest.raises(TaskDataError, match="timed out"):
        fetch(wiki, tmp_path / "out", LAMP)


def test_an_answer_cut_short_is_asked_for_again(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.add("The Lamplighter", LAMP_HTML)
    wiki.faults.append(Fault(200, {"Content-Length": "500", "Connection": "close"}, b'{"query'))
    assert fetch(wiki, tmp_path / "out", LAMP).fetched == 1


# A hostile site.


def page_of(**changed: Any) -> bytes:
    revision = {"revid": 5, "timestamp": "2020-01-01T00:00:00Z"}
    page = {"pageid": 9, "ns": 0, "title": "The Lamplighter", "revisions": [revision]} | changed
    return json.dumps({"query": {"pages": [page]}}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome to the hotel's network</html>",
        b"MediaWiki API is not enabled for this site.",
        b"\xff\xfe\x00",
        b"[]",
        b"[1]",
        b'"text"',
        b"12",
        b'{"query": []}',
        b'{"query": {"pages": {"9": {}}}}',
        b'{"error": "no"}',
        b'{"error": {"code": "internal", "info": "\\u001b[2J"}}',
        b"[" * 100_000,
        b'{"query": ' * 100_000,
        b'{"query": {"pages": [{"pageid": ' + b"9" * 5000 + b"}]}}",
        page_of(title="The\x1b[2J"),
        page_of(title="The|Lamplighter"),
        page_of(title="\ud800"),
        page_of(title="T" * 256),
        page_of(pageid="9"),
        page_of(revisions=[{"revid": 0, "timestamp": "2020-01-01T00:00:00Z"}]),
        page_of(revisions=[{"revid": 5, "timestamp": "yesterday"}]),
        page_of(revisions=[{"revid": 5, "timestamp": "2020-01-01T00:00:00"}]),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_answers_that_mediawiki_does_not_give_are_refused(
    tmp_path: Path, wiki: WikiServer, body: bytes
) -> None:
    wiki.faults.append(Fault(body=body))
    with pytest.raises(TaskDataError) as refused:
        fetch(wiki, tmp_path / "out", LAMP)
    assert str(refused.value).startswith(wiki.url)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.missing").exists()


@pytest.mark.parametrize(
    "lead",
    [
        {},
        {"parse": {"title": "T", "pageid": 9, "revid": 6, "text": "<p>A 1996 film.</p>"}},
        {"parse": {"title": "T", "pageid": 9, "revid": 5, "text": {"*": "<p>A 1996 film.</p>"}}},
    ],
)
def test_another_text_than_asked_for_is_refused(
    tmp_path: Path, wiki: WikiServer, lead: dict[str, Any]
) -> None:
    wiki.faults.extend([Fault(body=page_of()), Fault(body=json.dumps(lead).encode())])
    with pytest.raises(TaskDataError, match=re.escape(wiki.url)):
        fetch(wiki, tmp_path / "out", LAMP)


def test_a_younger_revision_than_asked_for_is_refused(tmp_path: Path, wiki: WikiServer) -> None:
    wiki.faults.extend([Fault(body=page_of()), Fault(body=page_of())])
    with pytest.raises(TaskDataError, match="younger than asked for"):
        fetch(wiki, tmp_path / "out", LAMP, before=datetime(2019, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_without_end_is_given_up(
    tmp_path: Path, wiki: WikiServer, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(asked_site, "LARGEST_ANSWER", 1 << 20)
    body = b" " * (4 << 20)
    endless = {"Content-Length": str(1 << 40), "Connection": "close"}
    headers = {"Content-Encoding": "gzip"} if packed else endless
    wiki.faults.append(Fault(200, headers, gzip.compress(body, 1) if packed else body))
    with pytest.raises(TaskDataError, match="an answer is larger than 1 MiB"):
        fetch(wiki, tmp_path / "out", LAMP)


@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 500])
def test_other_answers_are_not_followed(tmp_path: Path, wiki: WikiServer, status: int) -> None:
    wiki.faults.append(Fault(status, {"Location": f"{wiki.address}/elsewhere"}))
    with pytest.raises(TaskDataError, match=f"answered {status} to a question"):
        fetch(wiki, tmp_path / "out", LAMP)
    assert len(wiki.asked) == 1


def test_what_a_text_holds_cannot_reach_a_terminal(tmp_path: Path, wiki: WikiServer) -> None:
    spoilt = "<p>The\x07 film\u202e of&#27;[2J 1996&#x200b;.\ud800</p>"
    wiki.add("The Lamplighter", spoilt)
    fetch(wiki, tmp_path / "out", LAMP)
    assert read_fetched(tmp_path / "out")[0].text == "The film of[2J 1996."


# What a call takes.


@pytest.mark.parametrize("contact", ["", " ", "me", "a@b", "a@b.org\r\nX: y", "é@b.org", "http://"])
def test_a_contact_must_be_given(tmp_path: Path, contact: str) -> None:
    with pytest.raises(UsageError, match="an e-mail address or a URL"):
        fetch_pages([LAMP], tmp_path / "out", contact=contact)


@pytest.mark.parametrize("site", ["", "en.wikipedia.org", "file:///w/", "http://a/w", "http://[/"])
def test_a_site_must_be_an_address(tmp_path: Path, site: str) -> None:
    with pytest.raises(UsageError, match=r"expected one such as https://en\.wikipedia\.org/w/"):
        fetch_pages([LAMP], tmp_path / "out", contact=CONTACT, site=site)


def test_a_moment_must_be_one_everywhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="time zone"):
        fetch_pages([LAMP], tmp_path / "out", contact=CONTACT, before=datetime(2020, 1, 1))


def test_without_the_client_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mwclient", None)
    with pytest.raises(UsageError, match=r"pip install 'llm4rec-bench\[wikipedia\]'"):
        fetch_pages([LAMP], tmp_path / "out", contact=CONTACT)


# Reading the rows.


def row(**changed: Any) -> bytes:
    page = {
        "item_id": "7",
        "page": "The_Lamplighter",
        "page_id": 100,
        "revision": 101,
        "timestamp": "2020-01-01T00:00:00Z",
        "url": "https://en.wikipedia.org/w/index.php?title=The_Lamplighter&oldid=101",
        "licence": "CC BY-SA 4.0",
        "sha256": hashlib.sha256(LAMP_TEXT.encode()).hexdigest(),
        "text": LAMP_TEXT,
    }
    return msgspec.json.encode(page | changed) + b"\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row(item_id="8", text="edited"), "the text has SHA-256"),
        (row(), 'item "7" stands here again'),
        (row(item_id="8", revision=0), r"revision"),
        (row(item_id="8", more=1), "unknown field `more`"),
        (row(item_id="8", timestamp="2020"), "timestamp"),
        (row(item_id="8", url="javascript:1"), "url"),
        (b"\n", "Input data was truncated"),
        (b"\xff\n", "Input|JSON|utf-8"),
        (b"[" * 100_000, "recursion|expected|Expected"),
    ],
)
def test_a_row_at_fault_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "fetched.jsonl"
    path.write_bytes(row() + line)
    with pytest.raises(TaskDataError, match=said) as refused:
        read_fetched(path)
    assert str(refused.value).startswith(f"{path}:2: ")


def test_a_file_of_rows_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fetched.jsonl"
    path.write_bytes(row())
    monkeypatch.setattr(fetching, "LARGEST_FILE", len(row()) - 1)
    with pytest.raises(TaskDataError, match="is larger than"):
        read_fetched(path)
    with pytest.raises(TaskDataError, match="cannot be read"):
        read_fetched(tmp_path / "none")


# What an article may be called.


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Lamplighter, The", "The Lamplighter"),
        ("Lampe, La", "La Lampe"),
        ("Ombre, L'", "L'Ombre"),
        ("Lamps, Oil, and Wicks", "Lamps, Oil, and Wicks"),
        ("Lamp of Lost Wicks, The (Lampe des mèches perdues, La)", "The Lamp of Lost Wicks"),
        ("Wick (a.k.a. W1ck) (Docht)", "Wick"),
        ("(12) Lamps", "(12) Lamps"),
        ("  Two__lamps ", "Two lamps"),
        ("Cafe\u0301", "Café"),
    ],
)
def test_names_are_those_that_articles_have(title: str, name: str) -> None:
    assert candidates(title, None) == [f"{name} (film)", name]
    assert candidates(title, 1990) == [
        f"{name} (1990 film)",
        f"{name} (film)",
        name,
        f"{name} (1989 film)",
        f"{name} (1991 film)",
    ]


def test_names_too_long_for_an_article_are_left_out() -> None:
    assert candidates("x" * 250, 1990) == ["x" * 250]
    assert candidates("x" * 256, 1990) == []
    assert not is_page("ø" * 128)


# Plain text.


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One <b>bold</b>, <i>slanted</i> <a href='/wiki/X'>link</a>.</p>",
         "One bold, slanted link."),
        ("<p>One.</p>\n<p>Two\n lines&#160;and&nbsp;blanks .</p>", "One.\nTwo lines and blanks ."),
        ("<p class='mw-empty-elt'>\n</p><p>One.</p>", "One."),
        ("<p>One.<sup class='reference' id='r1'><a href='#n'>[1]</a></sup> Two.<sup>2</sup></p>",
         "One. Two.2"),
        ("<p>One<sup class='noprint Inline-Template'>[<i>citation needed</i>]</sup>.</p>", "One."),
        ("<table><tr><td><p>Box</p></td></tr></table><p>One.</p>", "One."),
        ("<table><tr><td><table><tr><td>In</td></tr></table><p>Box</p></td></tr></table><p>A</p>",
         "A"),
        ("<style>p { color: red }</style><p>One.<script>alert('<p>no</p>')</script></p>", "One."),
        ("<p>One<span style='DISPLAY : NONE'> (hidden <span>deep</span>)</span>.</p>", "One."),
        ("<p><span id='coordinates'>1°N 2°E</span></p><p>One.</p>", "One."),
        ("<div class='shortdescription'>A film</div><p>One.</p><div>Outside</div>", "One."),
        ("<p>One<br>two<br/>three<img src='x'>.</p>", "One two three."),
        ("<p>Lamp (<span class='ext-phonos'>listen</span>; born <i>Lampe</i>) is.</p>",
         "Lamp (born Lampe) is."),
        ("<p>Lamp (<span class='noexcerpt'>listen</span>) is.</p>", "Lamp is."),
        ("<p>Lamp (French: <i>Lampe</i>, <span class='noexcerpt'>x</span>) is.</p>",
         "Lamp (French: Lampe) is."),
        ("<p>One<p>Two", "One\nTwo"),
        ("<div><p>One</div>outside<p>Two</p>", "One\nTwo"),
        ("<p>1 &lt; 2 &amp; 3 &eacute;</p><!-- <p>not</p> -->", "1 < 2 & 3 é"),
        ("<p>One <table>lost", "One"),
        ("<p>\x00One\x85two\u2028three\u200e\ufffe</p>", "One two three"),
        ("", ""),
        ("plain", ""),
        ("<p", ""),
    ],
)  # fmt: skip
def test_plain_text_is_what_the_paragraphs_say(html: str, text: str) -> None:
    assert lead_text(html) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part", ["<", "<p", "<p>", "<table>", "(", ",", ", ;", "(,", "&", "<!--", "<a b='"]
)
def test_a_long_text_takes_no_longer_than_its_length(part: str) -> None:
    assert len(lead_text("<p>" + part * (1 << 18))) <= LARGEST_TEXT


def test_a_lead_without_end_is_cut_after_a_paragraph() -> None:
    paragraph = "x" * 999
    assert lead_text(f"<p>{paragraph}</p>" * 100) == "\n".join([paragraph] * (LARGEST_TEXT // 1000))
    assert lead_text(f"<p>{'x' * LARGEST_TEXT}</p>") == ""


@pytest.mark.parametrize(
    ("text", "year", "tells"),
    [
        ("Lamp is a 1996 film.", 1996, True),
        ("Lamp is a 1997 Movie.", 1996, True),
        ("Lamp is a 1995 mini-series.", 1996, True),
        ("Lamp is a 1994 film.", 1996, False),
        ("Lamp is a film of the 1996s.", 1996, False),
        ("Lamp is a film.", None, True),
        ("Lamp is a documentary directed by a film director.", None, True),
        ("Lamp is a documentary filmmaker.", None, False),
        ("Lamp was a film actress.", None, False),
        ("Lamp is a film series.", None, False),
        ("Lamp is a filmmaker.", None, False),
        ("Lamp is a microfilm.", None, False),
        ("x" * 290 + " a film.", None, True),
        ("x" * 300 + " a film.", None, False),
    ],
)
def test_a_film_is_known_by_what_its_lead_says(text: str, year: int | None, tells: bool) -> None:
    assert tells_of_film(text, year) is tells
