"""Keys, tokens and mail addresses: what is found, what is not, and that no find is ever shown.

The secrets are made up, and put together here so that no scanner takes this file for a leak.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.checks import no_secrets
from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.ingest import OnSensitive, ingest
from ft_assets.data.row_files import read_rows
from ft_assets.data.sensitive import RULES, hidden, may_hold, scan
from ft_assets.data.shapes import Chat, Message, Segment, Segments, Text, Tokens
from resources.errors import UserError
from resources.home import CHECKOUT

A36 = "aB3dE6gH9" * 4
LETTERS = "kQwErTyUiOpAsDfGhJkLzXcVbNmQwErTyU"
LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDc3dk0aGVyZW9m"


def armour(kind: str, body: str) -> str:
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


SECRETS = [
    ("PRIVATE_KEY", armour("PRIVATE " + "KEY", f"{LINE}\n{LINE}\nabc=")),
    ("PRIVATE_KEY", armour("RSA PRIVATE " + "KEY", f"Proc-Type: 4,ENCRYPTED\n\n{LINE}\nab==")),
    ("PRIVATE_KEY", armour("OPENSSH PRIVATE " + "KEY", LINE)),
    ("PRIVATE_KEY", armour("PGP PRIVATE " + "KEY BLOCK", f"Version: 1\n\n{LINE}\n=aBcD")),
    ("PRIVATE_KEY", armour("EC PRIVATE " + "KEY", LINE).replace("\n", "\\n")),
    ("AWS_ACCESS_KEY_ID", "AKIA" + "Z7ABCDEFGHIJKLM2"),
    ("AWS_ACCESS_KEY_ID", "ASIA" + "Z7ABCDEFGHIJKLM2"),
    *(("GITHUB_TOKEN", f"gh{letter}_{A36}") for letter in "pousr"),
    ("GITHUB_TOKEN", f"github_pat_{A36[:22]}_{A36}{A36[:23]}"),
    ("HUGGING_FACE_TOKEN", f"hf_{LETTERS}"),
    ("LLM_API_KEY", f"sk-{A36}"),
    ("LLM_API_KEY", f"sk-proj-{A36}_{A36}"),
    ("LLM_API_KEY", f"sk-ant-api03-{A36}-{A36}AA"),
    *(("SLACK_TOKEN", f"xox{letter}-1234567890-{A36[:24]}") for letter in "abprs"),
    ("GOOGLE_API_KEY", "AIza" + "Sy" + A36[:33]),
    ("JWT", "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0." + A36),
    ("EMAIL_ADDRESS", "ann.b+news@mail.firma.de"),
    ("EMAIL_ADDRESS", "jörg.müller@straße.de"),
    ("EMAIL_ADDRESS", "ann@example.com.firma.de"),
]
PASSWORD = "hunter2"  # of a URL, of which the rest stays

secrets = pytest.mark.parametrize(("rule", "secret"), SECRETS)


def chat(asked: str, answer: str = "Yes.") -> Chat:
    return Chat([Message(role="user", content=asked), Message(role="assistant", content=answer)])


# --- what is found


def test_every_rule_is_shown_here():
    assert {rule for rule, _ in SECRETS} | {"URL_PASSWORD"} == set(RULES)


@secrets
@pytest.mark.parametrize("around", ["{}", "My key: {}.", 'key="{}"', "({}),", "x\n{}\ny", "\\n{}"])
def test_a_secret_is_replaced_by_the_name_of_its_rule(rule, secret, around):
    assert hidden(around.format(secret)) == around.format(f"<{rule}>")


@pytest.mark.parametrize(
    ("url", "without"),
    [
        (f"https://ann:{PASSWORD}@host.com/x", "https://<URL_PASSWORD>@host.com/x"),
        (f"postgresql://app:{PASSWORD}@db:5432", "postgresql://<URL_PASSWORD>@db:5432"),
        (f"redis://:{PASSWORD}@localhost/0", "redis://<URL_PASSWORD>@localhost/0"),
        ("https://ann:p@ss@host.com", "https://<URL_PASSWORD>@host.com"),
        (f"http://a:{PASSWORD}@[::1]:80", "http://<URL_PASSWORD>@[::1]:80"),
    ],
)
def test_user_and_password_are_taken_out_of_a_url(url, without):
    assert hidden(f"See {url}") == f"See {without}"


def test_a_key_that_was_cut_off_is_found_and_the_words_behind_it_stay():
    cut = armour("PRIVATE " + "KEY", f"{LINE}\n{LINE}").partition("\n-----END")[0]
    assert hidden(f"{cut}\nThat was my key.") == "<PRIVATE_KEY>\nThat was my key."
    assert hidden(f"{cut}\nabc") == "<PRIVATE_KEY>"


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com, bob@mail.example.org, eve@EXAMPLE.net, root@site.example",
        "git clone git@github.com:python/cpython.git",
        "ssh://git@github.com/x and https://ann@bitbucket.org/x",
        "scp notes.txt root@server.com:/etc",
        "@pytest.fixture and @app.route('/')",
        "y = W@x.reshape(2) + a @ b.T and A@b.T",
        "npm install left-pad@1.3.0 @types/node@20",
        "https://${USER}:${PASSWORD}@host.com, http://{user}:{password}@host.com",
        "http://user:pass@host.com, http://user:password@host.com, http://u:***@host.com",
        "http://localhost:8080/a@b",
        "-----BEGIN PRIVATE " + "KEY----- is how a key begins, and what follows it is base64",
        armour("PUBLIC KEY", LINE),
        armour("PRIVATE " + "KEY", "..."),
        f"ghp_{'x' * 36} and hf_{'x' * 34}",
        "ghp_short, hf_hub_download, hf_transformers_model_name_or_path_of_the_base",
        "sk-toggleable__label-arrow-container sk-estimator-doc-link sk-learn",
        "task-0123456789abcdef0123456789abcdef0123",
        "xoxo-with-love-and-kisses",
        "AKIA is how a key begins; XAKIAZ7ABCDEFGHIJKLM2; AKIAZ7ABCDEFGHIJKLM2345",
        "eyJhbGciOiJIUzI1NiJ9 alone, eyJ.eyJ.x",
        "a" * 64,
        "0" * 64 + "@" * 64,
    ],
)
def test_what_only_looks_a_little_like_a_secret_is_left_alone(text):
    assert hidden(text) == text


def test_the_examples_hold_no_secret_and_the_documents_neither():
    for path in [*CHECKOUT.glob("examples/*/*.jsonl"), *CHECKOUT.glob("docs/*.md")]:
        assert hidden(text := path.read_text()) == text, path.name


# --- whole rows

EVERY_PLACE: list[Any] = [
    chat,
    lambda s: chat("?", s),
    lambda s: Chat([Message(role="assistant", content="", reasoning_content=s)]),
    lambda s: Chat([Message(role="assistant", content="x", name=s)]),
    lambda s: Chat([Message(role="assistant", content="", tool_calls=[call({"q": ["a", s]})])]),
    lambda s: Chat([Message(role="assistant", content="", tool_calls=[call({s: 1})])]),
    lambda s: Chat(
        [
            Message(role="assistant", content="", tool_calls=[call({})]),
            Message(role="tool", content="x", tool_call_id=s),
        ]
    ),
    lambda s: Chat(chat("?").messages, tools=[{"function": {"description": s, "name": "f"}}]),
    lambda s: Segments([Segment(False, "Q"), Segment(True, s)]),
    Text,
]


def call(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"function": {"arguments": arguments, "name": "look"}, "type": "function"}


@pytest.mark.parametrize("made", EVERY_PLACE)
@pytest.mark.parametrize(("rule", "secret"), [SECRETS[0], SECRETS[5], SECRETS[-1]])
def test_all_texts_of_a_row_are_looked_through(made, rule, secret):
    row = made(f"My key: {secret}!")
    found = scan(row)
    assert found is not None
    assert found.finds == {rule: 1}
    assert found.row == made(f"My key: <{rule}>!"), "and nothing else changes"
    assert scan(found.row) is None
    assert may_hold(canonical_bytes(row))


@pytest.mark.parametrize(
    ("made", "place"),
    list(
        zip(
            EVERY_PLACE,
            [
                *("turn 1 (user)", "turn 2 (assistant)", *["turn 1 (assistant)"] * 4),
                *("turn 2 (tool)", "'tools'", "segment 2", "'text'"),
            ],
            strict=True,
        )
    ),
)
def test_the_place_is_told_and_the_find_is_not(made, place):
    rule, secret = SECRETS[5]
    found = scan(made(secret))
    assert found is not None
    assert found.where == f"{place}: holds what looks like {rule}"


def test_a_row_of_tokens_is_not_looked_through():
    assert scan(Tokens([1, 2], [1, 2])) is None


def test_keys_that_become_one_stay_two():
    found = scan(
        Chat(
            [
                Message(
                    role="assistant",
                    content="",
                    tool_calls=[call({"ann@firma.de": 1, "bob@firma.de": 2})],
                )
            ]
        )
    )
    assert found is not None
    assert isinstance(found.row, Chat)
    calls = found.row.messages[0].tool_calls
    assert calls is not None
    assert calls[0]["function"]["arguments"] == {"<EMAIL_ADDRESS>": 1, "<EMAIL_ADDRESS> 2": 2}


pieces = st.sampled_from(
    [
        *(secret for _, secret in SECRETS),
        *(secret[: len(secret) // 2] for _, secret in SECRETS),
        *("://", ":", "@", "a", ".", ".de", "-", "_", "\\n", "\n", " ", "<", ">", "git", LINE, "x"),
    ]
)
texts = st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@given(texts)
def test_replacing_twice_changes_nothing(text):
    assert hidden(hidden(text)) == hidden(text)


@given(texts)
def test_what_is_found_passes_the_quick_look_first(text):
    row = chat(text)
    assert may_hold(canonical_bytes(row)) or scan(row) is None


@given(st.sampled_from(SECRETS), texts, texts)
def test_a_secret_between_spaces_is_always_found(secret, before, after):
    assert f" {secret[1]} " not in hidden(f"{before} {secret[1]} {after}")


# --- the ingestion

OPTIONS: dict[str, Any] = {"on_bad_rows": "fail", "max_bad_rows": None}
MODES: list[OnSensitive] = ["ignore", "warn", "drop", "redact"]


def source(row: Any) -> dict[str, Any]:
    return json.loads(canonical_bytes(row))


def written(path: Path, *rows: Any, ensure_ascii: bool = False) -> list[tuple[str, Path]]:
    path.write_text("".join(json.dumps(r, ensure_ascii=ensure_ascii) + "\n" for r in rows))
    return [(path.name, path)]


@pytest.mark.parametrize("beside", [{}, {"id": 1}, {"tools": None}])
@pytest.mark.parametrize("ensure_ascii", [True, False])
@secrets
def test_a_redacted_row_is_the_row(tmp_path, rule, secret, beside, ensure_ascii):
    """Also of a plain chat, which else takes the short way."""
    rows = [{**source(chat("fine")), **beside}, {**source(chat(f"My key {secret}")), **beside}]
    files = written(tmp_path / "a.jsonl", *rows, ensure_ascii=ensure_ascii)
    report = ingest(files, tmp_path / "out", sensitive="redact", **OPTIONS)
    stored = list(read_rows(tmp_path / "out/rows.jsonl"))
    assert [s.row for s in stored] == [chat("fine"), chat(f"My key <{rule}>")]
    assert [s.id for s in stored] == [row_id(s.row) for s in stored]
    assert (report.sensitive, report.dropped) == ({rule: 1}, {})
    again = [("rows.jsonl", tmp_path / "out/rows.jsonl")]
    second = ingest(again, tmp_path / "again", sensitive="redact", **OPTIONS)
    assert (tmp_path / "again/rows.jsonl").read_bytes() == again[0][1].read_bytes()
    assert second.sensitive == {}


def test_an_escaped_sign_is_seen(tmp_path):
    line = json.dumps(source(chat("ann@firma.de"))).replace("@", "\\u0040")
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    files = [("a.jsonl", tmp_path / "a.jsonl")]
    report = ingest(files, tmp_path / "out", sensitive="warn", **OPTIONS)
    assert report.sensitive == {"EMAIL_ADDRESS": 1}


def test_rows_without_a_find_are_stored_alike_in_all_modes(tmp_path):
    rows = [chat("fine"), chat("Grüße, @all"), Text("raw @ text"), Segments([Segment(True, "s")])]
    files = written(tmp_path / "a.jsonl", *map(source, rows), {"input_ids": [1], "labels": [1]})
    reports = [ingest(files, tmp_path / m, sensitive=m, **OPTIONS) for m in MODES]
    assert all(report == reports[0] for report in reports)


def test_by_default_nothing_is_looked_for(tmp_path):
    files = written(tmp_path / "a.jsonl", source(chat("ann@firma.de")))
    report = ingest(files, tmp_path / "out", **OPTIONS)
    assert (report.sensitive, report.rows_kept) == ({}, 1)
    assert b"ann@firma.de" in (tmp_path / "out/rows.jsonl").read_bytes()


def test_a_dropped_row_is_counted_listed_and_never_fails_the_call(tmp_path):
    rows = [source(chat("fine")), source(chat("ok", "ann@firma.de bob@firma.de")), {"title": "x"}]
    files = written(tmp_path / "a.jsonl", *rows, source(Text("eve@firma.de")))
    options: dict[str, Any] = {"sensitive": "drop", "on_bad_rows": "drop"}
    report = ingest(files, tmp_path / "out", max_bad_rows=1, **options)
    assert report.dropped == {"sensitive": 2, "unknown_format": 1}
    assert report.sensitive == {"EMAIL_ADDRESS": 3}
    bad = report.dropped_rows[0]
    assert (bad.file, bad.row, bad.offset) == ("a.jsonl", 2, len(json.dumps(rows[0])) + 1)
    assert bad.reason == "turn 2 (assistant): holds what looks like EMAIL_ADDRESS"
    assert bad.excerpt.startswith('{"messages":[{"content":"ok"')
    with pytest.raises(UserError, match=r"row 3: .*this is bad row 1 .*max_bad_rows is 0"):
        ingest(files, tmp_path / "out", max_bad_rows=0, **options)
    alone = written(tmp_path / "b.jsonl", *rows[:2])
    assert ingest(alone, tmp_path / "out", sensitive="drop", **OPTIONS).rows_kept == 1


@pytest.mark.parametrize("mode", MODES)
@secrets
def test_no_find_stands_in_what_is_told(tmp_path, mode, rule, secret):
    rows = [source(chat("fine")), *(source(made(secret)) for made in EVERY_PLACE)]
    for start in range(0, len(rows), 2):  # three rows are samples
        files = written(tmp_path / "a.jsonl", rows[0], *rows[start : start + 2])
        report = ingest(files, tmp_path / "out", sensitive=mode, **OPTIONS)
        told = report.model_dump_json() + (tmp_path / "out/dropped.jsonl").read_text()
        if mode in ("drop", "redact"):
            told += (tmp_path / "out/rows.jsonl").read_text()
        assert secret not in told
        assert json.dumps(secret)[1:-1] not in told
        assert secret.splitlines()[-2:][0] not in told


@secrets
def test_no_secret_of_a_row_that_is_bad_in_another_way_is_told(tmp_path, rule, secret):
    """Such a row is never looked through; what its reason and its excerpt quote is."""
    odd = {"messages": [{"role": secret, "content": "x"}]}
    files = written(tmp_path / "a.jsonl", source(chat("fine")), odd, {"key": secret})
    with pytest.raises(UserError) as error:
        ingest(files, tmp_path / "out", sensitive="warn", **OPTIONS)
    assert secret not in str(error.value)
    report = ingest(files, tmp_path / "out", on_bad_rows="drop", max_bad_rows=None)
    told = report.model_dump_json() + (tmp_path / "out/dropped.jsonl").read_text()
    assert secret not in told


def test_a_row_that_is_nested_too_deeply_to_be_looked_through_is_bad(tmp_path):
    deep: dict[str, Any] = {"a": "ann@firma.de"}
    for _ in range(900):
        deep = {"a": deep}
    row = {**source(chat("deep")), "tools": [{"function": {"name": "f", "parameters": deep}}]}
    files = written(tmp_path / "a.jsonl", source(chat("fine")), row)
    report = ingest(
        files, tmp_path / "out", sensitive="redact", on_bad_rows="drop", max_bad_rows=None
    )
    assert report.dropped == {"too_deep": 1}


# --- the check


@pytest.mark.parametrize(
    ("mode", "held_out", "passed", "said"),
    [
        ("ignore", "ann@firma.de", True, "ignore"),
        ("warn", "fine", True, "no key"),
        ("warn", "ann@firma.de", False, "the rows hold 1 EMAIL_ADDRESS"),
        ("drop", "ann@firma.de", True, "dropped (1 EMAIL_ADDRESS)"),
        ("redact", "ann@firma.de", True, "replaced"),
    ],
)
def test_the_check_fails_when_something_stayed_in(tmp_path, mode, held_out, passed, said):
    reports = [
        ingest(
            written(tmp_path / f"{n}.jsonl", source(chat("fine")), source(chat(text))),
            tmp_path / f"out-{n}",
            sensitive=mode,
            **OPTIONS,
        )
        for n, text in enumerate(["also fine", held_out])
    ]
    result = no_secrets.check_result(["p", "raw_dataset"], mode, reports)
    assert result.passed is passed
    assert said in (result.description or "")
    assert "ann@" not in (result.description or "")
