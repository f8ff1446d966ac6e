"""How text and numbers come onto a page.

Names, descriptions and titles come from strangers. Every value that a template prints passes
`plain` and then the template engine's escaping, so that a page shows it as the text it is.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llm4rec_bench.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment


def plain(text: str) -> str:
    """`text` in one line, without what does not print: controls, marks that turn the direction."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, each in one line."""
    found = (plain(part) for part in re.split(r"\n\s*\n", text.strip()))
    return [part for part in found if part]


def is_web(address: str) -> bool:
    """Whether an address may be linked to: nothing but https, in ASCII, without spaces."""
    return re.fullmatch(r"https://[!-~]+", address) is not None


def check_installed() -> None:
    """Raise UsageError where a library that makes pages is not installed."""
    missing = [name for name in ("jinja2", "itables") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} not installed; pip install 'llm4rec-bench[report]'"
        )


def environment() -> Environment:
    """The templates; what they print is plain, and escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def finalize(value: Any) -> Any:  # noqa: ANN401
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def ticked(text: str) -> Markup:
        """`text` with what stands between backticks as code."""
        return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(plain(text)))))  # noqa: S704

    pages = Environment(
        loader=PackageLoader("llm4rec_bench.site"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # `tojson` writes <, >, & and ' as escapes, so that no text ends the script it stands in.
    pages.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    pages.filters |= {"paragraphs": paragraphs, "ticked": ticked, "units": units}
    pages.tests["web"] = is_web
    return pages


def four(value: float) -> str:
    """A metric as the board shows it."""
    return f"{value:.4f}"


def units(value: float) -> int:
    """A metric in whole ten-thousandths, which is what the board shows."""
    return round(value * 10_000)


def milliseconds(value: float) -> str:
    """A latency: two decimals where it is short, whole where it is long."""
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def probability(p: float) -> str:
    """A p-value."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
