"""A bad pipeline file is refused with its place: file, line, column, the line, and a caret."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import traceback

import pytest

from ft_assets.config import find_pipelines, load_pipeline
from ft_assets.config.load import BUILT_IN
from resources.errors import UserError

SECRET = "s3cr3t-value"
HUB_TOKEN = "hf_" + "abcDEF0123456789" * 2


def text(message: str) -> str:
    return textwrap.dedent(message).strip("\n")


def test_a_file_gives_its_values_its_defaults_and_its_own_name(tmp_path):
    file = tmp_path / "my_pipe.yaml"
    file.write_text("dataset: {uri: /data}\ntraining:\n  learning_rate: 2.0e-5\n")
    pipeline = load_pipeline(file)
    assert pipeline.spec.name == "my_pipe"
    assert pipeline.spec.training.learning_rate == 2e-5
    assert pipeline.spec.training.num_epochs == 1
    assert pipeline.folder == tmp_path


def test_a_misspelled_key_is_pointed_at_and_the_right_one_named(refusal):
    message = refusal(
        """
        dataset:
          uri: /data
        training:
          seed: 2
          num_epoch: 3
        """
    )
    assert message == text(
        """
        pipe.yaml:6:3: training.num_epoch: there is no such parameter; did you mean num_epochs?
            num_epoch: 3
            ^
        """
    )


def test_a_misspelled_block_is_pointed_at(refusal):
    message = refusal("dataset: {uri: /data}\ntrainng: {}\n")
    assert message.startswith(
        "pipe.yaml:2:1: trainng: there is no such parameter; did you mean training?\n"
    )


def test_a_key_that_resembles_nothing_is_refused_without_a_guess(refusal):
    message = refusal("dataset:\n  uri: /data\n  zzz: 1\n")
    assert "pipe.yaml:3:3: dataset.zzz: there is no such parameter\n" in message


def test_a_value_out_of_range_is_pointed_at_and_shown(refusal):
    message = refusal("dataset:\n  uri: /data\n  split: 1.5\n")
    assert message == text(
        """
        pipe.yaml:3:10: dataset.split: Input should be less than or equal to 1 (it is 1.5)
            split: 1.5
                   ^
        """
    )


def test_a_value_under_a_seeds_name_is_pointed_at_where_it_stands(refusal):
    message = refusal(
        "dataset: {uri: /data}\ntraining:\n  seed: 1\n  phase_02_train_man_epochs: 0\n"
    )
    assert message.startswith("pipe.yaml:4:30: training.num_epochs: ")


def test_a_wrong_type_is_pointed_at(refusal):
    message = refusal("dataset: {uri: /data}\ntraining: {num_epochs: two}\n")
    assert message.startswith(
        "pipe.yaml:2:24: training.num_epochs: Input should be a valid integer"
    )
    assert "(it is 'two')" in message
    assert message.endswith("\n" + " " * 25 + "^")


def test_an_entry_of_a_list_or_a_map_is_pointed_at(refusal):
    message = refusal(
        "dataset: {uri: /data}\n"
        "evaluation:\n"
        "  tasks:\n"
        "    - arc_easy\n"
        "    - {a: b}\n"
        "training:\n"
        "  env:\n"
        "    A: b\n"
        "    C: 1\n"
    )
    assert "pipe.yaml:5:7: evaluation.tasks.1: Input should be a valid string" in message
    assert "pipe.yaml:9:8: training.env.C: Input should be a valid string (it is 1)" in message


def test_every_error_of_a_file_is_told_at_once(refusal):
    message = refusal(
        "dataset: {uri: /data, split: 0}\ntraining: {seed: -1}\nregistry: {version: '1'}\n"
    )
    places = [line.partition(": ")[0] for line in message.splitlines() if "pipe.yaml" in line]
    assert places == ["pipe.yaml:1:30", "pipe.yaml:2:18", "pipe.yaml:3:21"]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "training:\n  max_seq_len: 9000\n  max_tokens_per_gpu: 8000\n",
            "pipe.yaml:3:3: training: max_tokens_per_gpu (8000) is below max_seq_len (9000)",
        ),
        (
            "registry:\n  version: '1'\n",
            "pipe.yaml:3:12: registry.version is '1': set auto or three numbers such as 1.0.0",
        ),
    ],
)
def test_our_own_rules_are_told_without_the_librarys_words(refusal, block, message):
    said = refusal("dataset: {uri: /data}\n" + block)
    assert said.startswith(message)
    assert "Value error" not in said


def test_both_names_of_a_parameter_are_refused_at_their_block(refusal):
    said = refusal("dataset:\n  uri: /data\n  phase_01_dataset_man_data_uri: /data\n")
    assert said.startswith(
        "pipe.yaml:2:3: dataset: phase_01_dataset_man_data_uri and uri are the same parameter"
    )


def test_a_key_that_stands_twice_is_refused_at_its_second_place(refusal):
    message = refusal("dataset:\n  uri: /data\n  split: 0.5\n  split: 0.9\n")
    assert message == text(
        """
        pipe.yaml:4:3: the key 'split' stands here twice: keep one of them
            split: 0.9
            ^
        """
    )


def test_broken_yaml_is_pointed_at(refusal):
    message = refusal("dataset:\n  uri: [/data\n")
    assert message.startswith(
        "pipe.yaml:3:1: is no valid YAML: expected ',' or ']', but got '<stream end>'"
    )


def test_a_file_is_read_alike_where_libyaml_is_missing(monkeypatch, load, refusal):
    text = "dataset: {uri: /data, seed: 7}\ntraining: {seed: 8}\n"
    spec, said = load(text), refusal("dataset:\n  uri: [/data\n")
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert (load(text), refusal("dataset:\n  uri: [/data\n")) == (spec, said)


def test_what_only_libyaml_takes_is_refused_everywhere(refusal):
    assert "is no valid YAML: " in refusal("dataset:\t{uri: /data}\n")


def test_many_brackets_are_an_error_and_no_crash(tmp_path):
    """In a process of its own: libyaml ends it."""
    file = tmp_path / "deep.yaml"
    file.write_text("dataset: " + "[" * 100_000)
    load = (
        "import sys; from pathlib import Path; from ft_assets.config import load_pipeline as load"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; load(Path(sys.argv[1]))", str(file)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done
    assert f"UserError: {file}: is nested too deeply" in done.stderr


@pytest.mark.parametrize("value", ["!python/object:os.system x", "2026-13-45", "{[a]: b}"])
def test_yaml_that_no_plain_value_comes_of_is_refused(refusal, value):
    assert "is no valid YAML: " in refusal(f"dataset: {{uri: /data}}\ndescription: {value}\n")


def test_an_alias_may_stand_for_a_value_but_not_for_itself(load, refusal):
    spec = load("dataset: {uri: /data, seed: &seed 7}\ntraining: {seed: *seed}\n")
    assert spec.training.seed == 7
    refusal("dataset: {uri: /data}\ntags: &tags {self: *tags}\n")


def test_a_missing_dataset_is_named(refusal):
    assert refusal("# a comment\ntraining: {}\n") == text(
        """
        pipe.yaml:2:1: dataset is required
          training: {}
          ^
        """
    )
    assert "dataset.uri is required" in refusal("dataset: {split: 0.5}\n")


@pytest.mark.parametrize("content", ["- dataset\n", "dataset\n", "", "# nothing\n"])
def test_a_file_that_is_no_map_is_refused(refusal, content):
    message = refusal(content)
    assert message.startswith("pipe.yaml")
    assert "is not a map of blocks (dataset, ...)" in message


def test_a_key_that_is_no_text_is_refused(refusal):
    message = refusal("dataset: {uri: /data}\n1: x\n")
    assert message.startswith("pipe.yaml:2:4: 1: Keys should be strings")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_pipeline(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"description: \xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: cannot be read"):
        load_pipeline(tmp_path / "latin.yaml")


def test_a_file_whose_name_is_no_pipeline_name_needs_one_inside(tmp_path):
    file = tmp_path / "My-Pipe.yaml"
    file.write_text("dataset: {uri: /data}\n")
    with pytest.raises(UserError, match="name: String should match pattern"):
        load_pipeline(file)
    file.write_text("name: my_pipe\ndataset: {uri: /data}\n")
    assert load_pipeline(file).spec.name == "my_pipe"


# Secrets. The place is told, the value never, neither in the message nor in its traceback.


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "my_api_key", "PRIVATE_KEY"]
)
def test_an_environment_variable_that_looks_like_a_secret_is_refused(refusal, name):
    message = refusal(f"dataset: {{uri: /d}}\ntraining:\n  env:\n    A: b\n    {name}: {SECRET}\n")
    assert message.startswith(f"pipe.yaml:4:5: training.env: {name} looks like a secret: ")
    assert SECRET not in message


@pytest.mark.parametrize("name", ["NCCL_DEBUG", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS"])
def test_other_environment_variables_are_taken_commas_and_all(load, name):
    spec = load(f"dataset: {{uri: /d}}\ntraining: {{env: {{{name}: 'a,b=c'}}}}\n")
    assert spec.training.env == {name: "a,b=c"}


@pytest.mark.parametrize(
    "block",
    [
        f"training: {{env: {{HF_TOKEN: {SECRET}}}, seed: -1}}",
        f"training:\n  env:\n    HF_TOKEN: {SECRET}",
        f"training:\n  env:\n    HF_TOKEN: {SECRET}\n    HF_TOKEN: {SECRET}",
        f"training:\n  env:\n    HF_TOKEN: [{SECRET}]",
        f"training:\n  env: {{A: 1, 'HF_TOKEN': {SECRET}}}",
        f"training:\n  hf_token: {SECRET}",
        f"training:\n  hf_token_env: {HUB_TOKEN}",
        f"training:\n  phase_02_train_opt_hf_token: {HUB_TOKEN}",
        f"training:\n  seed: {HUB_TOKEN}",
        f"kubernetes:\n  hf_token_secrets: {SECRET}",
        f"training:\n  env:\n    HF_TOKEN: {SECRET}: {SECRET}",
    ],
)
def test_a_secrets_value_is_never_shown(load, block):
    with pytest.raises(UserError) as error:
        load(f"dataset: {{uri: /d}}\n{block}\n")
    said = "".join(traceback.format_exception(error.value))
    assert "pipe.yaml:" in str(error.value)
    assert SECRET not in said
    assert HUB_TOKEN not in said


def test_the_datasets_token_of_the_seed_is_refused_without_its_value(refusal):
    message = refusal(f"dataset:\n  uri: /d\n  phase_01_dataset_opt_hf_token: {SECRET}\n")
    assert "put it into the environment variable HF_TOKEN" in message
    assert SECRET not in message


def test_a_line_that_only_looks_like_a_secret_is_shown(refusal):
    assert "max_tokens_per_gpu: -1" in refusal(
        "dataset: {uri: /data}\ntraining:\n  max_tokens_per_gpu: -1\n"
    )


# Where pipelines lie.


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders, both named by FT_PIPELINES."""
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
    monkeypatch.setenv("FT_PIPELINES", os.pathsep.join(map(str, made)))
    return made


def names() -> dict[str, str]:
    return {found.spec.name: found.spec.dataset.uri for found in find_pipelines()}


def test_the_packages_own_pipelines_are_found(monkeypatch):
    monkeypatch.delenv("FT_PIPELINES", raising=False)
    assert set(names()) == {file.stem for file in BUILT_IN.glob("*.y*ml")}
    assert {"sft", "demo"} <= set(names())


def test_folders_of_the_team_add_pipelines_and_override_earlier_ones(folders):
    one, two = folders
    (one / "mine.yaml").write_text("dataset: {uri: /one/mine}\n")
    (one / "sft.yaml").write_text("dataset: {uri: /one/sft}\n")
    (two / "sft.yml").write_text("dataset: {uri: /two/sft}\n")
    found = names()
    assert found["mine"] == "/one/mine"
    assert found["sft"] == "/two/sft"
    assert "demo" in found


def test_a_folder_that_is_missing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("FT_PIPELINES", str(tmp_path / "none"))
    with pytest.raises(UserError, match="which is not a folder"):
        find_pipelines()


@pytest.mark.parametrize("other", ["other.yaml", "mine.yml"])
def test_two_files_of_one_folder_cannot_name_the_same_pipeline(folders, other):
    (folders[0] / "mine.yaml").write_text("dataset: {uri: /a}\n")
    (folders[0] / other).write_text("name: mine\ndataset: {uri: /b}\n")
    with pytest.raises(UserError, match="both name the pipeline 'mine': rename one"):
        find_pipelines()


def test_a_folder_that_is_named_twice_is_read_as_one(monkeypatch, tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: {uri: /a}\n")
    monkeypatch.setenv("FT_PIPELINES", os.pathsep.join([str(tmp_path), str(tmp_path), ""]))
    assert names()["mine"] == "/a"


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/rows.jsonl?X-Amz-Signature=hidden",
        "http://user:hidden@host/rows.jsonl",
        "https://host/rows?sig=hidden",
    ],
)
def test_a_secret_in_a_refused_address_is_not_shown(refusal, uri):
    message = refusal(f"dataset:\n  uri: {uri}\n")
    assert "dataset.uri" in message
    assert "hidden" not in message
