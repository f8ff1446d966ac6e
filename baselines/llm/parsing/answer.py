"""An answer as it came, and the part of it that is read."""

from __future__ import annotations

import html
import re
import unicodedata

LONGEST_ANSWER = 50_000
"""Characters that are read, after the model's thinking; the rest counts as cut off."""

EMPHASIS = re.compile(r"[*_`\\]")

_THINKING = re.compile(
    r"<(?P<end>/)?(?:think|thinking|thought|reasoning)>|\[(?P<mistral>/)?THINK\]", re.IGNORECASE
)
_TAGS = re.compile(
    r"</?(?:answer|ranking|result|output|response|final|[ou]l|li|p|div|br)\s?/?>", re.I
)
_CIRCLED = re.compile("[①-⑳㉑-㉟㊱-㊿❶-❿➀-➓⓪⓫-⓴⓵-⓾]|[0-9]\ufe0f?\u20e3")
_DASHES = re.compile("[‐-―−﹘﹣－]")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_REFUSED = re.compile(
    r"\b(?:sorry|apologi[sz]e|i (?:can't|can ?not|could not|couldn't|won't|will not)"
    r"|(?:i'm|i am) (?:unable|not able)|unable to|as an? (?:ai|artificial|(?:large )?language)"
    r"|i (?:don't|do not) have (?:any |enough |access|personal|preferences|the ability)"
    r"|tut mir leid|lo siento|désolée?|mi dispiace|desculpe)\b|抱歉|对不起|申し訳|죄송|к сожалению",
    re.IGNORECASE,
)
_OPENING_WORDS = 400
"""Characters in which a refusal says that it is one."""


def said_in(text: str, cut: bool) -> tuple[str, bool]:
    """An answer without the thinking before it, and whether it breaks off."""
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THINKING.finditer(text):
        if tag["end"] or tag["mistral"]:
            # One that was not opened was opened by the prompt.
            kept = kept if thinking else []
            start, thinking = tag.end(), False
        elif not thinking:
            kept.append(text[start : tag.start()])
            thinking = True
    kept += [] if thinking else [text[start:]]
    said = "".join(kept)
    cut = cut or thinking or len(said) > LONGEST_ANSWER
    return _CONTROLS.sub(" ", _BREAKS.sub("\n", said[:LONGEST_ANSWER])), cut


def unified(text: str) -> str:
    """A text with one kind of digits, dashes, blanks and breaks, and no tags."""
    text = html.unescape(_TAGS.sub("\n", text))
    text = _CIRCLED.sub(lambda one: f" #{unicodedata.numeric(one[0][0]):.0f} ", text)
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _DASHES.sub("-", text).replace("’", "'")[:LONGEST_ANSWER]


def refuses(said: str) -> bool:
    """Whether an answer without a ranking says that there will be none."""
    return _REFUSED.search(said[:_OPENING_WORDS].replace("’", "'")) is not None
