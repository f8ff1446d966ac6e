"""A small stand-in for a MediaWiki site's API on loopback, for the real client.

It answers `query` and `parse` as far as articles, redirects, revisions and lead sections go,
in the second format, and is stricter than MediaWiki: a parameter that it does not know is
refused, not warned of. Faults are answered first, in order.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.loopback import LoopbackServer

LIMIT = 50
KNOWN = set(
    "action disableeditsection disablelimitreport disabletoc format formatversion maxlag oldid "
    "pageids ppprop prop redirects rvdir rvlimit rvprop rvstart section titles".split()
)
NAMESPACES = {"Talk": 1, "User": 2, "Wikipedia": 4}


class Revision(NamedTuple):
    """One state of an article."""

    id: int
    timestamp: str
    html: str


@dataclass
class Article:
    """A page of the main namespace; the oldest revision comes first."""

    id: int
    revisions: list[Revision]
    disambiguation: bool = False


class Fault(NamedTuple):
    """What is answered in place of an answer."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    body: bytes = b"busy"


class Asked(NamedTuple):
    """One question that reached the server."""

    words: dict[str, str]
    agent: str


class ApiError(Exception):
    """An error as the API words it: a code, and a sentence for people."""


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the last one to be acknowledged
    server: WikiServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        words = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.server.asked.append(Asked(words, self.headers.get("User-Agent", "")))
        self._hold(words)
        if parts.path != "/w/api.php":
            return self._send(404, {}, b"no such script")
        if self.server.faults:
            return self._send(*self.server.faults.popleft())
        try:
            return self._json(self.server.answer(words))
        except ApiError as error:
            code, info = error.args
            self._json({"error": {"code": code, "info": info}}, {"MediaWiki-API-Error": code})
        return None

    def _hold(self, words: dict[str, str]) -> None:
        if words.get("oldid") == self.server.held:
            self.server.holding.set()
            self.server.released.wait()

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, headers or {}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True


@dataclass
class Pages:
    """What the site holds."""

    articles: dict[str, Article] = field(default_factory=dict)
    redirects: dict[str, tuple[str, str]] = field(default_factory=dict)
    """A title to another, and a section of it or nothing."""


class WikiServer(LoopbackServer):
    """The site at `url` while it is entered."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.pages = Pages()
        self.asked: list[Asked] = []
        self.faults: deque[Fault] = deque()
        self.held = ""
        """The revision whose text comes only once `released`."""
        self._next = 100

    def handle_error(self, *_: object) -> None:
        """Clients may go away."""

    @property
    def url(self) -> str:
        """What `site` is to be."""
        return f"{self.address}/w/"

    def add(self, title: str, *htmls: str, disambiguation: bool = False) -> Article:
        """An article with a revision of each text, one a year from 2020 on."""
        revisions = [
            Revision(self._next + place, f"{2019 + place}-01-01T00:00:00Z", html)
            for place, html in enumerate(htmls, 1)
        ]
        article = Article(self._next, revisions, disambiguation)
        self.pages.articles[title] = article
        self._next += 100
        return article

    def answer(self, words: dict[str, str]) -> dict[str, Any]:
        if unknown := set(words) - KNOWN:
            raise ApiError("badparams", f"Unrecognized parameters: {sorted(unknown)}")
        if (words["format"], words["formatversion"], words["maxlag"]) != ("json", "2", "5"):
            raise ApiError("badparams", "This site wants the second format and a maxlag.")
        return self._parse(words) if words["action"] == "parse" else self._query(words)

    def _query(self, words: dict[str, str]) -> dict[str, Any]:
        if "pageids" in words:
            found = [
                (title, article)
                for title, article in self.pages.articles.items()
                if str(article.id) in words["pageids"].split("|")
            ]
            return {"query": {"pages": [self._page(*one, words) for one in found]}}
        titles = words["titles"].split("|")
        if len(titles) > LIMIT:
            said = f'Too many values supplied for parameter "titles". The limit is {LIMIT}.'
            raise ApiError("toomanyvalues", said)
        if len(titles) > 1 and "rvlimit" in words:
            raise ApiError("rvlimit", "rvlimit may only be used with a single page.")
        spelt = {title: normalised(title) for title in titles}
        moves, ends = [], []
        for title in dict.fromkeys(spelt.values()):
            while title in self.pages.redirects:
                to, section = self.pages.redirects[title]
                move = {"from": title, "to": to} | ({"tofragment": section} if section else {})
                if move in moves:
                    break
                moves.append(move)
                title = to
            ends.append(title)
        pages = [
            self._page(end, self.pages.articles.get(end), words) for end in dict.fromkeys(ends)
        ]
        changed = [{"fromencoded": False, "from": a, "to": b} for a, b in spelt.items() if a != b]
        said: dict[str, Any] = {"pages": pages}
        said |= {"normalized": changed} if changed else {}
        said |= {"redirects": moves} if moves else {}
        return {"batchcomplete": True, "query": said}

    def _page(self, title: str, article: Article | None, words: dict[str, str]) -> dict[str, Any]:
        if re.search(r"[#<>\[\]{}|]", title) or not title:
            return {"title": title, "invalidreason": "It cannot be.", "invalid": True}
        space = NAMESPACES.get(title.partition(":")[0], 0)
        if article is None:
            return {"ns": space, "title": title, "missing": True}
        wanted = words["prop"].split("|")
        page: dict[str, Any] = {"pageid": article.id, "ns": space, "title": title}
        if "pageprops" in wanted and article.disambiguation:
            page["pageprops"] = {"disambiguation": ""}
        if "revisions" in wanted:
            until = words.get("rvstart", "9999")
            newest = [one for one in article.revisions if one.timestamp <= until][-1:]
            if newest:
                page["revisions"] = [
                    {"revid": one.id, "parentid": 0, "timestamp": one.timestamp} for one in newest
                ]
        return page

    def _parse(self, words: dict[str, str]) -> dict[str, Any]:
        for title, article in self.pages.articles.items():
            for one in article.revisions:
                if str(one.id) == words["oldid"]:
                    if words["prop"] != "text" or words["section"] != "0":
                        raise ApiError("badparams", "This site has only the text of leads.")
                    lead = {"title": title, "pageid": article.id, "revid": one.id}
                    return {"parse": lead | {"text": one.html}}
        raise ApiError("nosuchrevid", f"There is no revision with ID {words['oldid']}.")


def normalised(title: str) -> str:
    """A title as MediaWiki spells it."""
    name = " ".join(title.replace("_", " ").split())
    return name[:1].upper() + name[1:]
