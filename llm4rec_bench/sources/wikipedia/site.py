"""Asking a MediaWiki site, politely and one question at a time, for typed answers.

The client is mwclient, an optional dependency, over a connection of our own: by itself it
gives up at a 429, waits for however long a lagging site says, and reads answers of any
size. Nothing that a site answers is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from llm4rec_bench.errors import TaskDataError, UsageError, printable, shown

if TYPE_CHECKING:
    from mwclient import Site
    from requests import Response, Session

ENGLISH = "https://en.wikipedia.org/w/"

MAX_LAG = 5
"""Seconds the site's database may lag before it turns us away, as MediaWiki's manual advises."""

TRIES = 6
LONGEST_WAIT = 120.0
"""Seconds; a site that wants to be left alone for longer is left alone."""

TIMEOUT = 30.0
LARGEST_ANSWER = 8 << 20

_SITE = re.compile(r"https?://[A-Za-z0-9.:-]+/(?:[!-~]*/)?")
_CONTACT = re.compile(r"[!-~]+@[!-~]+\.[!-~]+|https?://[!-~]+\.[!-~]+")
_GONE = {"missingcontent-revid", "nosuchrevid", "permissiondenied"}
"""What is answered for a revision that was deleted or hidden since it was named."""

Pause = Callable[[float], None]
"""Waits for so many seconds."""

Id = Annotated[int, msgspec.Meta(gt=0)]

# What the site answers, in its second format, as far as anybody looks at it.


class Revision(msgspec.Struct):
    """One state of an article."""

    revid: Id
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class Article(msgspec.Struct):
    """A page asked for, which may be missing, and its newest revisions."""

    title: str
    pageid: int = 0
    ns: int = 0
    missing: bool = False
    invalid: bool = False
    pageprops: dict[str, object] = {}
    revisions: list[Revision] = []


class Move(msgspec.Struct, rename={"source": "from"}):
    """A title that stands for another."""

    source: str
    to: str
    tofragment: str = ""


class Query(msgspec.Struct):
    """The answer to a query."""

    pages: list[Article] = []
    normalized: list[Move] = []
    redirects: list[Move] = []


class Parsed(msgspec.Struct):
    """A revision's text as HTML."""

    revid: int
    text: str


class ApiError(msgspec.Struct):
    """Why a question was refused."""

    code: str
    info: str = ""


class Reply(msgspec.Struct):
    """All that an answer may hold."""

    error: ApiError | None = None
    query: Query = msgspec.field(default_factory=Query)
    parse: Parsed | None = None


class _Answer(NamedTuple):
    """As much of a response as mwclient looks at."""

    text: str
    status_code: int
    headers: dict[str, str]


class _Connection:
    """Stands where mwclient has a session of its own, and does all the waiting."""

    def __init__(self, session: Session, pause: Pause) -> None:
        self._session = session
        self._pause = pause

    def request(
        self, method: str, url: str, *, params: dict[str, str], headers: dict[str, str], **_: object
    ) -> _Answer:
        """Ask until there is an answer; raises TaskDataError where there will be none."""
        site = urlsplit(url).netloc

        def ask() -> Response:
            return self._session.request(
                method,
                url,
                params=params,
                headers=headers,
                timeout=TIMEOUT,
                stream=True,
                allow_redirects=False,
            )

        for again in range(TRIES):
            wait = 2.0**again
            try:
                with ask() as response:
                    if not _turned_away(response):
                        return _Answer(_body(response, site), 200, {})
                    said = f"answered {response.status_code}, too busy"
                    wait = _wait_asked(response.headers.get("Retry-After", ""), wait)
            except OSError as error:  # all that requests raises is one
                said = _first_cause(error)
            if wait > LONGEST_WAIT:
                raise _unreachable(site, f"{said}, and asks to wait {wait:.0f} s")
            if again + 1 < TRIES:
                self._pause(wait)
        raise _unreachable(site, f"{said}, {TRIES} times")


def _turned_away(response: Response) -> bool:
    """Whether the site is too busy for us; a lagging one says so with status 200 or 503."""
    said = response.headers.get("MediaWiki-API-Error", "")
    busy = said in ("maxlag", "ratelimited") or said.startswith("internal_api_error_DB")
    return response.status_code in (429, 502, 503, 504) or busy


def _wait_asked(header: str, otherwise: float) -> float:
    """Seconds that a Retry-After asks for, in either of its forms."""
    if re.fullmatch("[0-9]{1,9}", header):
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return otherwise


def _body(response: Response, site: str) -> str:
    if response.status_code != 200:
        raise TaskDataError(f"{site}: answered {response.status_code} to a question")
    data = bytearray()
    for chunk in response.iter_content(1 << 16):
        data += chunk
        if len(data) > LARGEST_ANSWER:
            raise TaskDataError(f"{site}: an answer is larger than {LARGEST_ANSWER >> 20} MiB")
    return data.decode("utf-8", "replace")


def _first_cause(error: BaseException) -> str:
    while inner := error.__cause__ or error.__context__:
        error = inner
    return printable(str(error) or type(error).__name__, 200)


def _unreachable(site: str, said: str) -> TaskDataError:
    mend = "what was fetched is kept; another call goes on from there"
    return TaskDataError(f"{site}: cannot be reached ({said}); {mend}")


class Wiki(NamedTuple):
    """A site being asked, and up to which moment its articles count."""

    site: Site
    url: str
    before: datetime | None

    def ask(self, action: str, **words: str) -> Reply:
        """What the site answers, typed; raises TaskDataError for an answer of no use."""
        fixed = {"formatversion": "2", "maxlag": str(MAX_LAG)}
        try:
            said = self.site.raw_api(action, "GET", **fixed, **words)
            reply = msgspec.convert(said, Reply)
        except (msgspec.ValidationError, RuntimeError) as error:  # mwclient's, or nested too deep
            reason = printable(str(error), 200)
            raise TaskDataError(f"{self.url}: not what MediaWiki answers ({reason})") from None
        if reply.error is not None and reply.error.code not in _GONE:
            code, info = printable(reply.error.code), shown(reply.error.info, 200)
            raise TaskDataError(f"{self.url}: refused a question with {code}: {info}")
        return reply


@contextmanager
def asking(url: str, contact: str, before: datetime | None, pause: Pause) -> Iterator[Wiki]:
    """A site to ask while this is entered; raises UsageError for what it cannot be asked with.

    `contact` is told to the site, with the name and version of the kit.
    """
    if not _SITE.fullmatch(url):
        raise UsageError(f"site is {shown(url)}; expected one such as {ENGLISH}")
    if not _CONTACT.fullmatch(contact):
        raise UsageError(
            f"contact is {shown(contact)}; expected an e-mail address or a URL, at which "
            "Wikipedia can tell you that you ask too much"
        )
    if before is not None and before.tzinfo is None:
        raise UsageError(f"before is {before}; expected a time with a time zone")
    try:
        import mwclient
        import requests
    except ImportError:
        mend = "pip install 'llm4rec-bench[wikipedia]'"
        raise UsageError(f"mwclient is not installed; {mend}") from None
    parts = urlsplit(url)
    with requests.Session() as session:
        ours = f"llm4rec-bench/{version('llm4rec-bench')}"
        theirs = f"mwclient/{mwclient.__version__}"
        about = f"https://github.com/llm4rec-bench/llm4rec-bench; {contact}"
        session.headers["User-Agent"] = f"{ours} ({about}) {theirs}"
        site = mwclient.Site(
            parts.netloc,
            path=parts.path,
            scheme=parts.scheme,
            pool=_Connection(session, pause),
            max_retries=0,
            do_init=False,
        )
        yield Wiki(site, url, before)
