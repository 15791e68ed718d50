"""What becomes of the data between its source and the training: formats, checks, reports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ft_assets.data.row_files import read_rows
from ft_assets.data.shapes import Chat
from ft_assets.provenance.content import content_digest
from tests.support.tiny_pipeline import NAME, ROWS, TinyPipeline

DATA = ("--select", "raw_dataset,split_dataset,token_report")


def chats(tiny: TinyPipeline) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tiny.data / "drop-1.jsonl").read_text().splitlines()]


def bring(tiny: TinyPipeline, rows: list[dict[str, Any]], name: str = "drop-1") -> None:
    (tiny.data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def question_and_answer(row: dict[str, Any]) -> tuple[str, str]:
    by_role = {turn["role"]: turn["content"] for turn in row["messages"]}
    return by_role["user"], by_role["assistant"]


def test_alpaca_rows_are_the_same_dataset_as_the_chats_that_they_mean(trained, tiny, ft):
    rows = [question_and_answer(row) for row in chats(tiny)]
    bring(tiny, [{"instruction": asked, "input": "", "output": said} for asked, said in rows])
    assert ft(tiny, "run", NAME, "--json", *DATA).exit_code == 0
    for asset in ("raw_dataset", "split_dataset"):
        assert tiny.artifact(asset).data_version == trained.pipeline.artifact(asset).data_version


def test_names_of_ones_own_are_read_as_the_file_says(tiny, ft):
    rows = [question_and_answer(row) for row in chats(tiny)]
    bring(
        tiny,
        [
            {"talk": [{"who": "customer", "says": asked}, {"who": "agent", "says": said}]}
            for asked, said in rows
        ],
    )
    tiny.write(
        {
            "dataset": {
                "field_messages": "talk",
                "message_property_mappings": {"role": "who", "content": "says"},
                "roles": {"user": ["customer"], "assistant": ["agent"]},
            }
        }
    )
    call = ft(tiny, "run", NAME, "--json", *DATA)
    assert call.exit_code == 0, call.stderr
    (first, *_) = read_rows(tiny.artifact("raw_dataset").file("rows.jsonl"))
    assert isinstance(first.row, Chat)
    assert [m.role for m in first.row.messages] == ["user", "assistant"]


@pytest.mark.parametrize("own_held_out", [False, True])
def test_data_versions_and_reports_say_the_digests_of_the_published_files(tiny, ft, own_held_out):
    if own_held_out:
        bring(tiny, chats(tiny)[:6], "held-out")
        tiny.write({"dataset": {"eval_uri": f"{tiny.data}/held-out.jsonl"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    for asset in ("raw_dataset", "split_dataset"):
        artifact = tiny.artifact(asset)
        digests = {
            file.path: hashlib.sha256(artifact.file(file.path).read_bytes()).hexdigest()
            for file in artifact.manifest.files
        }
        assert {file.path: file.sha256 for file in artifact.manifest.files} == digests
        assert artifact.data_version == content_digest(digests)
        report = artifact.manifest.metadata["report"]
        if asset == "raw_dataset":
            assert report["digest"] == digests["rows.jsonl"]
        else:
            said = (report["train_digest"], report["held_out_digest"])
            assert said == (digests["train.jsonl"], digests["held_out.jsonl"])


@pytest.mark.slow
def test_all_shapes_are_trained_and_measured_together(tiny, ft):
    """Chats, segments and raw text in one dataset, from the source to the report."""
    rows = [question_and_answer(row) for row in chats(tiny)]
    mixed: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
        for a, b in rows[::3]
    ]
    mixed += [
        {"segments": [{"label": False, "text": a}, {"label": True, "text": b}]}
        for a, b in rows[1::3]
    ]
    mixed += [{"text": f"{a}\n{b}"} for a, b in rows[2::3]]
    bring(tiny, mixed)
    call = ft(tiny, "run", NAME, "--json")
    assert call.exit_code == 0, call.stderr
    report = tiny.artifact("raw_dataset").manifest.metadata["report"]
    assert report["shapes"] == {"chat": 14, "segments": 13, "text": 13}
    assert call.json["tuned_loss"] < call.json["base_loss"]
    tokens = tiny.artifact("token_report").manifest.metadata["report"]
    outcome = tiny.artifact("finetuned_model").manifest.metadata["outcome"]
    assert (tokens["tokens"], tokens["trained_tokens"], tokens["rows"], tokens["steps"]) == (
        outcome["tokens"],
        outcome["trained_tokens"],
        outcome["rows"],
        outcome["steps"],
    ), "what was reported is what was trained on"


def test_rows_from_which_nothing_is_learnt_stop_before_the_training(tiny, ft):
    tiny.write({"training": {"roles_to_train": ["tool"]}})
    call = ft(tiny, "run", NAME, "--json")
    assert call.exit_code == 1
    assert "no token of any training row is trained on" in call.json["error"]
    assert tiny.artifacts() == ["raw_dataset", "split_dataset"]


def test_a_length_that_leaves_most_rows_out_stops_before_the_training(tiny, ft):
    call = ft(
        tiny,
        *("run", NAME, "--json", "--set", "training.max_seq_len=90"),
        *("--set", "training.effective_batch_size=2"),
    )
    assert call.exit_code == 1
    assert "longer than training.max_seq_len (90)" in call.json["error"]
    assert call.json["checks"]["trained_tokens"] is False
    assert "finetuned_model" not in tiny.artifacts()


def test_a_held_out_set_of_ones_own_is_the_held_out_side(tiny, ft):
    rows = chats(tiny)
    bring(tiny, rows[:6], "held-out")
    tiny.write({"dataset": {"eval_uri": f"{tiny.data}/held-out.jsonl"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    split = tiny.artifact("split_dataset").manifest.metadata["report"]
    assert split["held_out_rows"] == 6
    assert split["train_rows"] == ROWS - 6
    assert sum(split["dropped"].values()) == 6
    assert call.json["checks"]["no_leak"] is True


def test_a_held_out_set_of_ones_own_may_lack_the_groups(tiny, ft):
    rows = chats(tiny)
    bring(tiny, [{**row, "user": n // 4} for n, row in enumerate(rows)])
    bring(tiny, [{**rows[0], "user": 0}, *rows[20:26]], "held-out")
    tiny.write({"dataset": {"eval_uri": f"{tiny.data}/held-out.jsonl", "group_by": "user"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    dropped = tiny.artifact("split_dataset").manifest.metadata["report"]["dropped"]
    assert dropped == {"equals_held_out": 7, "group_of_held_out": 3}


def test_groups_stay_together(tiny, ft):
    bring(tiny, [{**row, "user": n // 4} for n, row in enumerate(chats(tiny))])
    tiny.write({"dataset": {"group_by": "user", "split": 0.5}})
    call = ft(tiny, "run", NAME, "--json", *DATA)
    assert call.exit_code == 0, call.stderr
    split = tiny.artifact("split_dataset")
    sides = [
        {row.group for row in read_rows(split.file(name))}
        for name in ("train.jsonl", "held_out.jsonl")
    ]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[0] | sides[1]) == ROWS // 4


def test_rows_without_the_key_of_their_group_are_refused(tiny, ft):
    tiny.write({"dataset": {"group_by": "user"}})
    call = ft(tiny, "run", NAME, "--json")
    assert call.exit_code == 1
    assert "row 1: " in call.json["error"]
    assert "user" in call.json["error"]
    assert tiny.artifacts() == []


def with_an_address(tiny: TinyPipeline) -> str:
    """Put an address into one answer and into a held-out set of one's own; the address."""
    address = "ann.smith@firma.de"
    rows = chats(tiny)
    rows[0]["messages"][-1]["content"] += f" Ask {address}."
    bring(tiny, rows)
    bring(tiny, rows[:6], "held-out")
    return address


def test_what_is_sensitive_is_replaced_and_counted(tiny, ft):
    address = with_an_address(tiny)
    tiny.write({"dataset": {"sensitive": "redact", "eval_uri": f"{tiny.data}/held-out.jsonl"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    assert call.json["checks"]["no_secrets"] is True
    artifact = tiny.artifact("raw_dataset")
    assert artifact.manifest.metadata["report"]["sensitive"] == {"EMAIL_ADDRESS": 1}
    assert artifact.manifest.metadata["eval_report"]["sensitive"] == {"EMAIL_ADDRESS": 1}
    for name in ("rows.jsonl", "eval_rows.jsonl"):
        (first, *_) = read_rows(artifact.file(name))
        assert isinstance(first.row, Chat)
        assert first.row.messages[-1].content.endswith(" Ask <EMAIL_ADDRESS>.")
    for file in tiny.home.rglob("*"):
        assert not file.is_file() or address.encode() not in file.read_bytes(), file


def test_what_is_sensitive_and_stays_is_a_warning_that_does_not_tell_it(tiny, ft):
    address = with_an_address(tiny)
    tiny.write({"dataset": {"sensitive": "warn"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    assert call.json["checks"]["no_secrets"] is False
    assert any("the rows hold 1 EMAIL_ADDRESS" in warning for warning in call.json["warnings"])
    rows = tiny.artifact("raw_dataset").file("rows.jsonl")
    assert address in rows.read_text()
    assert address not in call.stdout + call.stderr
    for file in (rows.parent / "manifest.json", *(tiny.home / "dagster").rglob("*")):
        assert not file.is_file() or address.encode() not in file.read_bytes(), file


@pytest.fixture
def own_task(tiny: TinyPipeline) -> Path:
    """A task of the pipeline's own that asks what three of its training rows answer."""
    folder = tiny.root / "tasks"
    folder.mkdir()
    asked = [question_and_answer(row) for row in chats(tiny)]
    documents = [
        {"question": f"{a} {b[:60]}", "choices": [b[:40], "Nothing at all."], "answer": 0}
        for a, b in asked[:3]
    ]
    (folder / "documents.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "own.yaml").write_text(
        f"""\
task: own
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""
    )
    tiny.write({"evaluation": {"tasks": ["own"], "include_path": str(folder)}})
    return folder


def test_training_rows_that_hold_a_question_of_a_task_are_dropped(tiny, own_task, ft):
    call = ft(tiny, "run", NAME, "--json", *DATA)
    assert call.exit_code == 0, call.stderr
    split = tiny.artifact("split_dataset")
    metadata = split.manifest.metadata
    found = metadata["contamination"]["contaminated_rows"]
    assert 1 <= found <= 3, "those of the three that are on the training side"
    assert metadata["report"]["dropped"]["contaminated"] == found
    assert len(list(read_rows(split.file("train.jsonl")))) == metadata["report"]["train_rows"]
    listed = [json.loads(line) for line in split.file("contaminated.jsonl").open()]
    assert {pair["task"] for pair in listed} == {"own"}
    assert call.json["checks"]["no_contamination"] is True
    assert not any((tiny.home / "runs").iterdir())


def test_contamination_fails_the_run_when_that_is_asked_for(tiny, own_task, ft):
    call = ft(tiny, "run", NAME, "--json", "--set", "dataset.on_contamination=fail", *DATA)
    assert call.exit_code == 1
    assert "own" in call.json["error"]
    assert tiny.artifacts() == ["raw_dataset"]
    listing = Path(
        next(w for w in call.json["error"].split() if "contaminated.jsonl" in w).strip("(),;:.")
    )
    assert listing.exists(), "the list that the message names is there"


def test_contamination_that_is_only_reported_is_a_warning(tiny, own_task, ft):
    call = ft(tiny, "run", NAME, "--json", "--set", "dataset.on_contamination=report", *DATA)
    assert call.exit_code == 0, call.stderr
    assert call.json["checks"]["no_contamination"] is False
    assert any("hold a question of own" in warning for warning in call.json["warnings"])


def test_the_preview_shows_the_tokens_that_are_trained_on(trained, ft):
    call = ft(trained.pipeline, "data", "preview", NAME, "--row", "3", "--json")
    assert call.exit_code == 0, call.stderr
    tokens = call.json["tokens"]
    trained_text = "".join(token["text"] for token in tokens if token["trained"])
    row = list(read_rows(trained.pipeline.artifact("split_dataset").file("train.jsonl")))[2]
    assert call.json["id"] == row.id
    assert isinstance(row.row, Chat)
    assert trained_text == row.row.messages[-1].content + "<|im_end|>"
    page = trained.pipeline.artifact("token_report").file("preview.html").read_text()
    assert row.id[:12] in page

    plain = ft(trained.pipeline, "data", "preview", NAME, "--row", "3")
    assert f"{len(tokens)} tokens" in plain.stdout


def test_a_row_that_there_is_not_is_refused(trained, tiny, ft):
    call = ft(trained.pipeline, "data", "preview", NAME, "--row", "5000", "--json")
    assert call.json["error"].startswith("--row 5000: the training side has rows 1 to ")
    call = ft(tiny, "data", "preview", NAME, "--json")
    assert "has no split_dataset yet" in call.json["error"]


def test_the_histogram_is_a_picture_and_fits_the_page(trained):
    artifact = trained.pipeline.artifact("token_report")
    chart = artifact.file("lengths.svg").read_text()
    report = artifact.manifest.metadata["report"]
    assert chart.startswith("<svg")
    assert chart.count("fill='#4f43dd'") == len(report["histogram"])


def test_a_drop_unlike_the_one_before_is_a_warning(trained_once, ft):
    """Of the same kind first, then one of long rows in other words."""
    trained_once.write_drop("drop-2", start=100)
    call = ft(trained_once, "run", NAME, "--json", "--partition", "drop-2", *DATA)
    assert call.json["checks"]["like_the_drop_before"] is True, call.json["warnings"]
    drift = trained_once.artifact("token_report", "drop-2").manifest.metadata["drift"]
    assert drift["before"] == "drop-1"

    other = [
        {
            "messages": [
                {"role": "user", "content": f"{n} " * 30},
                {"role": "assistant", "content": f"{n * n} " * 30},
            ]
        }
        for n in range(40)
    ]
    bring(trained_once, other, "drop-3")
    call = ft(trained_once, "run", NAME, "--json", "--partition", "drop-3", *DATA)
    assert call.exit_code == 0, call.stderr
    assert call.json["checks"]["like_the_drop_before"] is False
    assert any("against drop-2" in warning for warning in call.json["warnings"])


def dialogues(tiny: TinyPipeline) -> list[dict[str, Any]]:
    """Dialogues of four questions, stored once per answer: prefixes of 2, 4, 6 and 8 turns."""
    asked = chats(tiny)
    whole = [
        [turn for row in asked[n : n + 4] for turn in row["messages"]] for n in range(0, ROWS, 4)
    ]
    return [
        {"messages": turns[:length], "talk": str(n), "length": str(length)}
        for n, turns in enumerate(whole)
        for length in (2, 4, 6, 8)
    ]


def test_held_out_rows_do_not_stand_inside_longer_training_rows(tiny, ft):
    bring(tiny, dialogues(tiny))
    tiny.write({"dataset": {"stratify_by": "length", "split": 0.7}})
    call = ft(tiny, "run", NAME, "--json", *DATA)
    assert call.exit_code == 0, call.stderr
    split = tiny.artifact("split_dataset")
    train, held_out = (
        [row.row.messages for row in read_rows(split.file(name)) if isinstance(row.row, Chat)]
        for name in ("train.jsonl", "held_out.jsonl")
    )
    assert not any(row[: len(short)] == short for row in train for short in held_out)
    report = split.manifest.metadata["report"]
    found = split.manifest.metadata["contamination"]
    assert list(found["tasks"]) == ["held_out"]
    assert 3 <= found["contaminated_rows"] == report["dropped"]["contaminated"]
    assert report["train_rows"] == len(train)
    assert sum(stratum["train_rows"] for stratum in report["strata"]) == len(train)
    assert call.json["checks"]["no_contamination"] is True


def test_groups_keep_all_rows_of_such_dialogues(tiny, ft):
    bring(tiny, dialogues(tiny))
    tiny.write({"dataset": {"group_by": "talk", "split": 0.7}})
    assert ft(tiny, "run", NAME, "--json", *DATA).exit_code == 0
    assert tiny.artifact("split_dataset").manifest.metadata["report"]["dropped"] == {}


def test_to_ignore_contamination_leaves_such_rows_in(tiny, ft):
    bring(tiny, dialogues(tiny))
    call = ft(tiny, "run", NAME, "--json", "--set", "dataset.on_contamination=ignore", *DATA)
    assert call.exit_code == 0, call.stderr
    metadata = tiny.artifact("split_dataset").manifest.metadata
    assert "contamination" not in metadata
    assert "contaminated" not in metadata["report"]["dropped"]


@pytest.mark.parametrize("key", ["group_by", "stratify_by", "eval_uri"])
def test_a_raw_dataset_that_was_read_for_another_key_is_not_divided(tiny, ft, key):
    rows = chats(tiny)
    bring(tiny, [{**row, "a": str(n // 4), "b": str(n % 4)} for n, row in enumerate(rows)])
    for name in ("a", "b"):
        bring(tiny, [{**row, "a": "x", "b": "x"} for row in rows[:6]], name)
    values = {n: f"{tiny.data}/{n}.jsonl" if key == "eval_uri" else n for n in ("a", "b")}
    tiny.write({"dataset": {key: values["a"]}})
    drop = ("run", NAME, "--json", "--partition", "drop-1", "--select")
    assert ft(tiny, *drop, "raw_dataset,split_dataset").exit_code == 0
    before = tiny.artifact("split_dataset")
    tiny.write({"dataset": {key: values["b"]}})
    call = ft(tiny, *drop, "split_dataset")
    assert call.exit_code == 1
    assert (
        f"dataset.{key}: {values['b']}: the raw dataset was read with {values['a']}: "
        in (call.json["error"])
    )
    assert "materialize raw_dataset again" in call.json["error"]
    assert tiny.artifact("split_dataset").digest == before.digest
    assert ft(tiny, *drop, "raw_dataset,split_dataset").exit_code == 0


def test_rows_that_the_own_held_out_set_loses_are_seen(tiny, ft):
    bring(tiny, [*chats(tiny)[:6], {"messages": []}], "held-out")
    tiny.write({"dataset": {"eval_uri": f"{tiny.data}/held-out.jsonl", "on_bad_rows": "drop"}})
    call = ft(tiny, "run", NAME, "--json", "--partition", "drop-1", *DATA)
    assert call.exit_code == 0, call.stderr
    assert call.json["checks"]["rows_valid"] is False
    assert any("1 of 7 rows of dataset.eval_uri were dropped" in w for w in call.json["warnings"])
