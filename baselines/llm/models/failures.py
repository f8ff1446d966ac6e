"""What a call came to that the client of a server has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.llm.model import Answer

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

_OF_ITSELF = frozenset({400, 403, 413, 422})
"""By which servers say that they do not take a call, whatever they do with others."""
NO_CHAT = frozenset({405, 501})
"""By which what is no language model says that nothing is answered there."""
_UNSUPPORTED = {
    "max_tokens": 'add limit = "max_completion_tokens" to the card\'s [params.model]',
    "temperature": "it takes its own temperature only; set temperature = 1 under [params]",
}
"""What to do where a model does not take one of our fields."""


def failed(error: OpenAIError, said: str) -> Answer:
    """The answer that says so, in the words that the server `said`."""
    from openai import APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return Answer(status="timeout", reason=said)
    if not isinstance(error, APIStatusError):
        return Answer(status="api_error", reason=said)
    if error.code == "content_filter":
        return Answer(status="refusal", reason=said)
    return Answer(status="api_error", reason=said, of_itself=error.status_code in _OF_ITSELF)


def hopeless(error: APIStatusError, key: str, there: str, answered: bool) -> str | None:
    """Why no other call can succeed either, and what to do; None where one can.

    `key` is where the key is looked for, `there` which models the server has, `answered` whether
    it has answered a call before.
    """
    status = error.status_code
    if error.code == "insufficient_quota" or status == 402:
        return "the account has nothing left to spend"
    if status == 401 or (status == 403 and not answered):
        return f"the key in {key} may not use it; set it to one that may"
    if status == 400 and str(error.param) in _UNSUPPORTED:
        return _UNSUPPORTED[str(error.param)]
    if status == 404:
        return (
            f"no such model, or no chat at this address; models there: {there or 'not told'}; "
            "base_url mostly ends with /v1"
        )
    return "takes no chats; see base_url" if status in NO_CHAT and not answered else None
