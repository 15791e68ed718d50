"""Bad input of every kind: one clear message, exit status 1, nothing half-made left behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.small_disk import small_disk
from tests.support.tiny_model import make_tiny_model
from tests.support.tiny_pipeline import NAME, TinyPipeline, make_tiny_pipeline

Refused = Callable[..., str]

GOOD = '{"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]}'
UNKNOWN_ROLE = '{"messages": [{"role": "robot", "content": "A?"}]}'
NO_ASSISTANT = '{"messages": [{"role": "user", "content": "A?"}]}'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_base_model: Path) -> TinyPipeline:
    """A pipeline of which every run here is refused: its home stays without artifacts."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("refused"), tiny_base_model)


@pytest.fixture
def bad(shared: TinyPipeline) -> Iterator[TinyPipeline]:
    yield shared
    shutil.rmtree(shared.data)
    shutil.rmtree(shared.home / "artifacts", ignore_errors=True)
    shared.write_drop("drop-1").write()


@pytest.fixture
def refused(bad: TinyPipeline, ft) -> Refused:
    """Run the pipeline, see that it is refused in the right manner, and give the message."""

    def run(*arguments: str, leaves: tuple[str, ...] = (), **environment: str) -> str:
        call = ft(bad, "run", NAME, "--json", *arguments, **environment)
        assert call.exit_code == 1, call.stderr
        assert "Traceback" not in call.stdout + call.stderr
        message = call.json["error"]
        assert call.stderr.endswith(message + "\n")
        assert bad.artifacts() == sorted(leaves)
        return message.replace(str(bad.root), "ROOT")

    return run


# --- the data


def test_a_drop_that_does_not_exist(refused):
    message = refused("--partition", "drop-7")
    assert message.startswith("ROOT/data/drop-7.jsonl: there is no such file or folder")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "drop-1.jsonl: the file is empty"),
        ("\n\n", "drop-1.jsonl: the file holds no rows"),
        (f"{GOOD}\n{GOOD}\n{{broken\n", "drop-1.jsonl, row 3: broken JSON"),
        (f"{GOOD}\n{UNKNOWN_ROLE}\n", "drop-1.jsonl, row 2: turn 1: unknown role 'robot'"),
        (f"{NO_ASSISTANT}\n", "drop-1.jsonl, row 1: there is no assistant turn"),
        (f"{GOOD}\n[1, 2]\n", "drop-1.jsonl, row 2: the row is not a JSON object"),
        ("\x00\x01\x02", "drop-1.jsonl, row 1: broken JSON"),
    ],
    ids=["empty", "blank", "broken", "role", "no-assistant", "no-object", "binary"],
)
def test_a_file_that_cannot_be_used_is_named_with_the_row(bad, refused, content, expected):
    (bad.data / "drop-1.jsonl").write_text(content)
    assert expected in refused()


def test_a_file_without_one_valid_row_even_when_bad_rows_may_be_dropped(bad, refused):
    (bad.data / "drop-1.jsonl").write_text(f"{UNKNOWN_ROLE}\n{NO_ASSISTANT}\n")
    message = refused("--set", "dataset.on_bad_rows=drop")
    assert message.startswith("none of the 2 rows of drop-1.jsonl is valid")


def test_more_bad_rows_than_allowed(bad, refused):
    (bad.data / "drop-1.jsonl").write_text(f"{GOOD}\n{UNKNOWN_ROLE}\n{NO_ASSISTANT}\n")
    message = refused("--set", "dataset.on_bad_rows=drop", "--set", "dataset.max_bad_rows=1")
    assert "row 3: " in message
    assert "dataset.max_bad_rows is 1" in message


def test_a_split_that_leaves_one_side_empty(bad, refused):
    (bad.data / "drop-1.jsonl").write_text(f"{GOOD}\n{GOOD}\n")
    message = refused(leaves=("raw_dataset",))
    assert "side is empty (dataset.split 0.8: " in message
    assert "add rows" in message


# --- where the data lies


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("ftp://example.com/{partition}.jsonl", "the scheme ftp:// is not supported"),
        ("../../../{partition}.jsonl", "is outside the allowed roots"),
        ("/etc/{partition}", "is outside the allowed roots"),
        ("https://127.0.0.1/{partition}.jsonl", "has the address 127.0.0.1, which is not public"),
        ("https://169.254.169.254/{partition}.jsonl", "169.254.169.254, which is not public"),
        ("https://[::1]/{partition}.jsonl", "has the address ::1, which is not public"),
        ("http://example.com/{partition}.jsonl", "http:// is refused"),
        ("pvc://set/{partition}.jsonl", "no volume is set"),
        ("data/all.jsonl", "write {partition} exactly once"),
    ],
)
def test_a_place_that_is_not_read(refused, uri, expected):
    assert expected in refused("--partition", "drop-1", "--set", f"dataset.uri={uri}")


def test_a_link_that_leads_out_of_the_roots(bad, refused, tmp_path):
    (tmp_path / "outside.jsonl").write_text(f"{GOOD}\n")
    (bad.data / "drop-2.jsonl").symlink_to(tmp_path / "outside.jsonl")
    assert "is outside the allowed roots" in refused("--partition", "drop-2")


def test_userinfo_and_query_of_an_address_are_never_shown(refused):
    uri = "https://user:pass-word@127.0.0.1/{partition}.jsonl?sig=s3cr3t"
    message = refused("--partition", "drop-1", "--set", f"dataset.uri={uri}")
    assert "pass-word" not in message
    assert "s3cr3t" not in message


# --- what was typed


@pytest.mark.parametrize("key", ["../x", "a/b", "", "x" * 129, ".hidden"])
def test_a_partition_key_that_could_be_a_path_is_refused_before_it_is_a_partition(
    bad, refused, key
):
    assert f"partition key {key!r}" in refused("--partition", key)
    with bad.instance() as instance:
        assert key not in instance.get_dynamic_partitions("tiny_drops")


def test_a_partition_for_a_pipeline_without_drops(bad, refused):
    bad.write({"dataset": {"uri": f"{bad.data}/drop-1.jsonl"}})
    message = refused("--partition", "drop-1")
    assert "the pipeline tiny has no drops" in message


def test_no_drop_at_all(bad, refused):
    (bad.data / "drop-1.jsonl").unlink()
    assert "pipeline tiny has no data drop yet" in refused()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "training.learning_rate=7"), "training.learning_rate: "),
        (("--set", "training.num_epochs=two"), "training.num_epochs: "),
        (("--set", "training.num_epochs=0"), "training.num_epochs: "),
        (("--set", "training.epochs=2"), "there is no such parameter"),
        (("--set", "trainig.num_epochs=2"), "there is no such parameter"),
        (("--set", "num_epochs=2"), "there is no such parameter"),
        (("--set", "training.num_epochs"), "write BLOCK.PARAMETER=VALUE"),
        (("--set", "training.num_epochs=[1"), "--set training.num_epochs=[1: the value is no"),
        (("--set", "dataset.split=0"), "dataset.split: "),
        (("--set", "evaluation.limit=0"), "evaluation.limit: "),
        (("--set", "registry.version=1.0"), "registry.version: "),
        (("--set", "training.hf_token_env=hf_abcdefghijklmnopqrst"), "training.hf_token_env: "),
        (("--select", "finetuned"), "--select finetuned: there is no such asset"),
        (("--select", "raw_dataset,raw"), "--select raw: there is no such asset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_says_nothing_that_there_is(bad, refused, arguments, expected):
    assert expected in refused(*arguments)


def test_an_out_of_range_value_is_refused_before_there_is_a_run(bad, refused):
    with bad.instance() as instance:
        before = instance.get_runs_count()
    message = refused("--set", "training.learning_rate=7")
    assert "(it is 7" in message
    with bad.instance() as instance:
        assert instance.get_runs_count() == before


def test_an_unknown_pipeline_names_those_that_there_are(shared, ft):
    call = ft(shared, "run", "tyni", "--json")
    assert call.exit_code == 1
    assert call.json == {
        "error": "there is no pipeline 'tyni': there are demo, lora, osft, sft, tiny"
    }
    assert call.stderr == call.json["error"] + "\n"


def test_an_unknown_pipeline_parameter_is_pointed_at(bad, refused):
    bad.write({"training": {"num_epoch": 2}})
    line = bad.file.read_text().splitlines().index("  num_epoch: 2") + 1
    message = refused()
    assert message.startswith(f"ROOT/pipelines/tiny.yaml:{line}:3: training.num_epoch: ")
    assert "num_epochs" in message


def test_a_pipeline_file_that_is_no_yaml_is_pointed_at(bad, refused):
    bad.file.write_text("dataset: {uri: [}\n")
    assert refused().startswith("ROOT/pipelines/tiny.yaml:1:")


def test_an_unknown_executor(refused):
    assert "FT_EXECUTOR is 'slurm': set one of" in refused(FT_EXECUTOR="slurm")


def test_a_folder_of_pipelines_that_does_not_exist(refused):
    assert "which is not a folder" in refused(FT_PIPELINES="/nowhere")


# --- the model


def _model(bad: TinyPipeline, tmp_path: Path, *without: str, template: bool = True) -> str:
    folder = make_tiny_model(tmp_path / "model", chat_template=template)
    for name in without:
        (folder / name).unlink()
    return f"training.base_model={folder}"


def test_a_model_without_a_tokenizer(bad, refused, tmp_path):
    model = _model(bad, tmp_path, "tokenizer.json", "tokenizer_config.json")
    message = refused("--set", model, leaves=("raw_dataset", "split_dataset"))
    assert "tokenizer" in message


def test_a_model_with_pickled_weights_only(bad, refused, tmp_path):
    model = _model(bad, tmp_path, "model.safetensors")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"pickle")
    message = refused("--set", model, leaves=("raw_dataset", "split_dataset"))
    assert "has no safetensors weights: pickled weights are not" in message


def test_a_model_without_a_chat_template(bad, refused, tmp_path):
    model = _model(bad, tmp_path, template=False)
    message = refused("--set", model, leaves=("raw_dataset", "split_dataset"))
    assert "chat template" in message
    assert "training.chat_template" in message


def test_a_model_that_is_not_there(refused):
    message = refused(
        "--set", "training.base_model=/nowhere/model", leaves=("raw_dataset", "split_dataset")
    )
    assert "/nowhere/model is not a folder" in message


def test_a_batch_that_is_larger_than_the_training_set(refused):
    message = refused(
        "--set", "training.effective_batch_size=4096", leaves=("raw_dataset", "split_dataset")
    )
    assert message.startswith("check enough_rows: 31 training rows are fewer than")
    assert "training.effective_batch_size (4096)" in message


# --- the machine


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_store_whose_disk_is_full(bad, refused, tmp_path):
    store = tmp_path / "store"
    with small_disk(store, "size=32k"):
        bad.write_drop("drop-1", rows=300)
        message = refused(FT_STORE=str(store))
        assert message.startswith("disk full while publishing tiny/raw_dataset")
        assert re.search(r" has 0\.0 MB free, needed (more|about)", message)
        assert files_below(store) == [], "nothing half-written stays"


def test_a_home_whose_disk_is_full_while_rows_are_written(bad, refused):
    with small_disk(bad.home / "scratch", "size=32k") as scratch:
        bad.write_drop("drop-1", rows=300)
        message = refused()
        assert message.startswith("disk full while reading tiny/raw_dataset")
        assert " has 0.0 MB free, needed more; free space or set FT_HOME" in message
        assert files_below(scratch) == [], "nothing half-written stays"


def test_a_home_that_cannot_be_written(bad, ft, tmp_path):
    (tmp_path / "file").write_text("")
    call = ft(bad, "run", NAME, "--json", FT_HOME=str(tmp_path / "file"))
    assert call.exit_code == 1
    assert "FT_HOME" in call.json["error"]
    assert "Traceback" not in call.stderr


def test_settings_of_dagster_that_are_not_valid(bad, ft, tmp_path):
    (tmp_path / "dagster.yaml").write_text("storage:\n  nonsense: 1\n")
    call = ft(bad, "run", NAME, "--json", DAGSTER_HOME=str(tmp_path))
    assert call.exit_code == 1
    assert call.json["error"].startswith(f"{tmp_path}/dagster.yaml is not valid: ")
    assert "Traceback" not in call.stderr


def test_a_storage_of_dagster_that_cannot_be_opened(bad, ft, tmp_path):
    (tmp_path / "storage").write_text("a file, not a folder")
    (tmp_path / "dagster.yaml").write_text(
        f"storage:\n  sqlite:\n    base_dir: {tmp_path}/storage\n"
    )
    call = ft(bad, "run", NAME, "--json", DAGSTER_HOME=str(tmp_path))
    assert call.exit_code == 1
    assert f"as {tmp_path}/dagster.yaml describes it, cannot be opened" in call.json["error"]
    assert "Traceback" not in call.stderr


# --- the command line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", NAME, "--jsn"], "No such option"),
        (["run"], "Missing argument 'PIPELINE'"),
        (["rum", NAME], "No such command 'rum'"),
    ],
)
def test_a_command_that_there_is_not(bad, ft, arguments, expected):
    call = ft(bad, *arguments, "--json")
    assert call.exit_code == 2
    assert expected in call.json["error"]
    text = ft(bad, *arguments)
    assert (text.exit_code, text.stdout) == (2, "")
    assert expected in text.stderr


def test_check_refuses_a_source_that_no_run_could_read(bad, ft):
    bad.write({"dataset": {"uri": "ftp://example.org/{partition}.jsonl"}})
    call = ft(bad, "check", "--json")
    assert call.exit_code == 1
    assert "the scheme ftp:// is not supported" in call.json["error"]
