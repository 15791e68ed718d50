"""Keys, tokens and mail addresses in the texts of a row: found, and replaced.

The rules are few and narrow: each has a fixed mark that ordinary text does not have, so that what
they find is nearly always what it looks like. What has no such mark (a password in a sentence, a
name, a telephone number) is not found. The rules and where their patterns come from:

- ``PRIVATE_KEY``: a private key in PEM, OpenSSH's or PGP's armour with its key (RFC 7468, RFC 9580;
  gitleaks, ``private-key``). The header alone is not enough.
- ``URL_PASSWORD``: user and password in a URL, ``://user:password@`` (RFC 3986, 3.2.1); not a
  placeholder such as ``${PASSWORD}``.
- ``AWS_ACCESS_KEY_ID``: ``AKIA`` or ``ASIA`` and 16 characters (AWS IAM, "unique ID prefixes").
- ``GITHUB_TOKEN``: ``ghp_``, ``gho_``, ``ghu_``, ``ghs_``, ``ghr_``, ``github_pat_`` (GitHub,
  "token formats"; of 36 to 255 characters).
- ``HUGGING_FACE_TOKEN``: ``hf_`` and 34 characters (gitleaks, ``huggingface-access-token``).
- ``LLM_API_KEY``: ``sk-ant-``, ``sk-proj-`` and the like, or ``sk-`` and 32 characters with a digit
  (gitleaks, ``anthropic-api-key`` and ``openai-api-key``).
- ``SLACK_TOKEN``: ``xoxb-`` and its sisters (Slack, "token types"; gitleaks, ``slack-*``).
- ``GOOGLE_API_KEY``: ``AIza`` and 35 characters (gitleaks, ``gcp-api-key``).
- ``JWT``: three parts in base64url, of which two are JSON objects (RFC 7519; gitleaks, ``jwt``).
- ``EMAIL_ADDRESS``: the form that browsers accept (HTML, "valid e-mail address"), with a domain of
  two labels or more, in letters of any language; not in the domains that are kept for examples
  (RFC 2606), not ``git@``, and not the user of a URL.

Belongs here: what is sensitive. Does not belong here: what becomes of a row that holds it
(:mod:`ft_assets.data.ingest`), or hiding what only could be (:mod:`ft_assets.data.redaction`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from ft_assets.data.shapes import Chat, Message, Segment, Segments, Text, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from ft_assets.data.shapes import Row

T = TypeVar("T")

_NO_FILLER = r"(?![xX0*.]{8})"
_BREAK = r"(?:\s|\\[nr])"  # also escaped, as in a tool's answer that is JSON text
_ARMOUR_END = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_FOR_EXAMPLES = r"(?i:(?:[\w-]+\.)*example\.(?:com|net|org)|(?:[\w-]+\.)+example)(?![\w-]|\.\w)"


def _word(start: str, rest: str, *, word: str = "A-Za-z0-9_") -> tuple[str, str]:
    """A mark of two characters where no word goes on, and what follows it."""
    return start[1:], rf"(?<={start})(?:(?<![{word}]{start})|(?<=\\[nr]{start})){rest}"


# A repetition begins behind a look ahead where it might fail: before Python 3.11.5 a possessive one
# that fails keeps what it took (gh-106052).
# Per rule the second character of its mark, and the pattern behind that. The first character is
# looked for once for all rules: that is ten times as fast as ten patterns side by side.
_FIRST = "[-:@Aeghsx]"
_RULES: dict[str, tuple[str, str]] = {
    "PRIVATE_KEY": (
        "-",
        r"(?<=--)---BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        rf"{_BREAK}*+(?:[A-Za-z-]{{1,40}}: [^\n\\<>]{{0,200}}{_BREAK}++)*+[A-Za-z0-9+/=]{{40,}}+"
        rf"(?:(?:[A-Za-z0-9+/=]|{_BREAK})*+{_ARMOUR_END}"
        rf"|(?:(?={_BREAK}+[A-Za-z0-9+/=]{{40}}){_BREAK}+[A-Za-z0-9+/=]{{40,}}+)*+"
        rf"(?:(?={_BREAK}+[A-Za-z0-9+/=]+{_BREAK}*\Z){_BREAK}+[A-Za-z0-9+/=]++)?)",
    ),
    "URL_PASSWORD": (
        "/",
        r"(?<=:/)/[^\s/:@?#<>()\[\]\"'`]{0,100}:(?![$%{*]|x{3}|pass(?:word|wd)?@|pwd?@)"
        r"[^\s/?#<>\"'`]{1,200}(?=@[\w\[])",
    ),
    "AWS_ACCESS_KEY_ID": _word("A[KS]", r"IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "GITHUB_TOKEN": _word(
        "g[hi]",
        rf"(?:(?<=gh)[pousr]_{_NO_FILLER}[A-Za-z0-9]{{36,}}+"
        rf"|(?<=gi)thub_pat_{_NO_FILLER}[A-Za-z0-9_]{{36,}}+)",
    ),
    "HUGGING_FACE_TOKEN": _word("hf", rf"_{_NO_FILLER}[A-Za-z0-9]{{34,}}+"),
    "LLM_API_KEY": _word(
        "sk",
        r"-(?:(?:ant|proj|svcacct|admin|or)-(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{20,}+"
        r"|(?=[A-Za-z]{0,64}[0-9])[A-Za-z0-9]{32,}+)",
    ),
    "SLACK_TOKEN": _word("xo", r"x[abeoprs]-(?=[A-Za-z-]{0,16}[0-9])[A-Za-z0-9-]{10,}+"),
    "GOOGLE_API_KEY": _word("AI", r"za[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    "JWT": _word(
        "ey",
        r"J[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{10,}+",
        word="A-Za-z0-9_-",
    ),
    "EMAIL_ADDRESS": (
        "",  # what stands before the @ is looked for when a domain stands behind it
        rf"(?<=@)(?!{_FOR_EXAMPLES})"
        r"(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}(?![\w(\[-])(?!:[/~])",
    ),
}
RULES = tuple(_RULES)
"""The names of the rules."""

_COMBINED = re.compile(
    _FIRST + "(?:" + "|".join(f"{mark}(?P<{name}>{rest})" for name, (mark, rest) in _RULES.items())
    + ")"
)  # fmt: skip
_LOCAL_PART = re.compile(r"[\w.%+-]{1,64}")
_IN_AUTHORITY = re.compile(r"://[\w.%+:~-]*\Z")
# Looser than the rules, in the bytes of a row: each is found by its first character.
_MARKS = tuple(
    re.compile(mark).search
    for mark in (
        rb"@(?<=[^\s/?#<>\"'`]@)(?<![^\\]\\n@)[\w\[\x80-\xff]",  # no decorator on its line
        rb"A(?:[KS]IA|Iza)",
        rb"-----BEGIN",
        rb"xox[abeoprs]-",
        rb"sk-[A-Za-z0-9_-]{20}",
        rb"\.eyJ",
        rb"hf_[A-Za-z0-9]{34}",
        rb"g(?:h[pousr]_|ithub_pat_)[A-Za-z0-9_]{36}",
    )
)


def may_hold(line: bytes) -> bool:
    """Whether one of the rules could find something in a row of these UTF-8 bytes.

    The bytes must not hold letters as JSON's ``\\u`` escapes, which canonical bytes never do.
    """
    for search in _MARKS:  # noqa: SIM110 - any() takes twice as long
        if search(line):
            return True
    return False


class Scanned(NamedTuple):
    """What was found in a row."""

    finds: Counter[str]
    """How many finds, by rule."""
    where: str
    """The place of the first find and its rule, in words that do not tell the find."""
    row: Row
    """The row with ``<RULE>`` in place of each find; nothing is found in it."""


def scan(row: Row) -> Scanned | None:
    """Look through all texts of a row; None when nothing is found. Tokens are not looked through.

    Raises:
        RecursionError: a tool or a call is nested too deeply.
    """
    scanner = _Scanner()
    clean = scanner.row(row)
    return Scanned(scanner.finds, scanner.where, clean) if scanner.finds else None


def hidden(text: str) -> str:
    """A text with ``<RULE>`` in place of each find."""
    return _Scanner().text(text)


@dataclass
class _Scanner:
    """Goes through one row."""

    finds: Counter[str] = field(default_factory=Counter[str])
    where: str = ""

    def row(self, row: Row) -> Row:
        if isinstance(row, Chat):
            turns = [
                self._at(f"turn {n} ({turn.role})", self._turn, turn)
                for n, turn in enumerate(row.messages, 1)
            ]
            return Chat(turns, self._at("'tools'", self.value, row.tools))
        if isinstance(row, Segments):
            return Segments(
                [
                    Segment(segment.label, self._at(f"segment {n}", self.text, segment.text))
                    for n, segment in enumerate(row.segments, 1)
                ]
            )
        if isinstance(row, Text):
            return Text(self._at("'text'", self.text, row.text))
        assert isinstance(row, Tokens)
        return row

    def text(self, text: str) -> str:
        # What is replaced can end a word, behind which another begins: until nothing is found.
        while (clean := self._once(text)) != text:
            text = clean
        return text

    def value(self, value: T) -> T:
        """Texts and keys at any depth of plain JSON."""
        if isinstance(value, str):
            return cast("T", self.text(value))
        if isinstance(value, list):
            return cast("T", [self.value(item) for item in cast("list[Any]", value)])
        if isinstance(value, dict):
            made: dict[str, Any] = {}
            for key, item in cast("dict[str, Any]", value).items():
                made[_unused(self.text(key), made)] = self.value(item)
            return cast("T", made)
        return value

    def _turn(self, turn: Message) -> Message:
        return Message(
            content=self.text(turn.content),
            name=self.value(turn.name),
            reasoning_content=self.value(turn.reasoning_content),
            role=turn.role,
            tool_call_id=self.value(turn.tool_call_id),
            tool_calls=self.value(turn.tool_calls),
            train=turn.train,
        )

    def _at(self, place: str, look: Callable[[T], T], at: T) -> T:
        before = bool(self.finds)
        clean = look(at)
        if self.finds and not before:
            self.where = f"{place}: holds what looks like {next(iter(self.finds))}"
        return clean

    def _once(self, text: str) -> str:
        """One pass."""
        pieces: list[str] = []
        done = 0
        for match in _COMBINED.finditer(text):
            rule = match.lastgroup
            assert rule is not None
            start = _start(text, match, rule, done)
            if start is None:
                continue
            self.finds[rule] += 1
            pieces += (text[done:start], f"<{rule}>")
            done = match.end()
        return "".join(pieces) + text[done:] if pieces else text


def _start(text: str, match: re.Match[str], rule: str, done: int) -> int | None:
    """Where a find begins, which is behind ``done``; None where it is no find after all."""
    if rule == "URL_PASSWORD":
        return match.start() + len("://")
    if rule != "EMAIL_ADDRESS":
        return match.start()
    before = text[max(done, match.start() - 64) : match.start()]
    local = _LOCAL_PART.match(before[::-1])
    if local is None:
        return None
    start = match.start() - local.end()
    if text[start - 1 : start] == "\\" and text[start] in "nrt":  # an escaped line break
        start += 1
    # The user of a URL or of a remote repository is no mailbox.
    of_url = _IN_AUTHORITY.search(text, max(0, start - 64), start)
    return None if of_url or text[start : match.start()] in ("", "git") else start


def _unused(key: str, taken: dict[str, Any]) -> str:
    """The key, or one like it: two addresses become one text."""
    number = 2
    free = key
    while free in taken:
        free = f"{key} {number}"
        number += 1
    return free
