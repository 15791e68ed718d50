"""What the documents say is true: commands, pipelines, links, paths, variables and messages."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

from ft_assets.cli import main
from ft_assets.config import load_pipeline
from ft_assets.config.load import BUILT_IN
from resources.home import CHECKOUT
from scripts import json_schema, parameters_table

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt"""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_there_are_pages():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "architecture.md"} <= {
        page.name for page in PAGES
    }


# --- reading Markdown


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks: what stands behind the fence, and the content."""
    return re.findall(r"^```(.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# --- commands


@pages
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for command in commands(page, "make")
        for word in command[1:]
        if "=" not in word and not word.startswith("-")
    }
    assert named <= targets


@pages
def test_every_ft_command_and_option_exists(page):
    for command in commands(page, "ft"):
        refuse_unknown(command)


def test_the_reader_of_commands_refuses_what_does_not_exist():
    for wrong in (["ft", "trian"], ["ft", "run", "demo", "--epochs", "2"], ["ft", "demo", "x"]):
        with pytest.raises(click.UsageError):
            refuse_unknown(wrong)


def test_every_command_stands_in_the_readme():
    named = {
        tuple(word for word in command[1:3] if word.islower())
        for command in commands(CHECKOUT / "README.md", "ft")
    }
    for name, command in main.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {}
        for path in [(name, sub) for sub in inner] or [(name,)]:
            assert any(words[: len(path)] == path for words in named), path


def refuse_unknown(words: list[str]) -> None:
    """Parse a command line as click does, without running anything."""
    command: click.Command = main
    context = click.Context(main, info_name="ft")
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"no such command: {' '.join(words)}")
        command, context = found, click.Context(found, info_name=rest[0], parent=context)
        rest = rest[1:]
    given = any(not word.startswith("-") for word in rest)
    command.make_parser(context).parse_args(list(rest))  # options
    if given:
        command.parse_args(context, list(rest))  # and arguments


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The calls of a program in shell blocks and in inline code, without variables before them."""
    text = page.read_text()
    lines = [line for kind, block in blocks(text) if kind == "sh" for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", without_blocks(text))
    for line in lines:
        words = shlex.split(line, comments=True) if program in line else []
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0] == program:
            yield words


# --- pipelines


def pipeline_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, (kind, block) in enumerate(blocks(page.read_text()), 1)
        if kind == "yaml pipeline"
    ]


def test_every_yaml_block_is_a_pipeline_and_therefore_tested():
    kinds = [kind for page in PAGES for kind, _ in blocks(page.read_text()) if "yaml" in kind]
    assert kinds
    assert set(kinds) == {"yaml pipeline"}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in pipeline_blocks()])
def test_a_pipeline_in_the_documents_is_one(text, tmp_path):
    file = tmp_path / "documented.yaml"
    file.write_text(text)
    assert load_pipeline(file).spec.dataset.uri
    jsonschema.validate(yaml.safe_load(text), schema())


# --- the JSON Schema and the table of parameters


@cache
def schema():
    return json.loads(json_schema.TARGET.read_text())


def test_the_committed_schema_is_current():
    assert json_schema.TARGET.read_text() == json_schema.text(), (
        "run scripts/json_schema.py and commit docs/pipeline.schema.json"
    )


def test_the_committed_table_of_parameters_is_current():
    assert parameters_table.TARGET.read_text() == parameters_table.markdown(), (
        "run scripts/parameters_table.py and commit docs/parameters.md"
    )


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("file", sorted(BUILT_IN.glob("*.yaml")), ids=lambda file: file.name)
def test_the_built_in_pipelines_are_valid_by_the_schema(file):
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())


@pytest.mark.parametrize(
    "text",
    [
        "dataset: {uri: a.jsonl}",
        "{name: chats, dataset: {uri: a.jsonl}}",
        "dataset: {phase_01_dataset_man_data_uri: a.jsonl}",
        "{dataset: {uri: a.jsonl}, training: {training_num_epochs: 2}}",
        "{dataset: {uri: a.jsonl}, kubernetes: {cpu: 2, procs_per_worker: 2}}",
        "{dataset: {uri: a.jsonl}, evaluation: {batch: 8, include_path: null}}",
    ],
)
def test_the_schema_takes_what_a_pipeline_file_takes(text, tmp_path):
    (tmp_path / "chats.yaml").write_text(text)
    load_pipeline(tmp_path / "chats.yaml")
    jsonschema.validate(yaml.safe_load(text), schema())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "dataset: {}",
        "dataset: {uri: a.jsonl, phase_01_dataset_man_data_uri: a.jsonl}",
        "dataset: {uri: a.jsonl, spilt: 0.9}",
        "dataset: {uri: a.jsonl, split: 1.5}",
        "{dataset: {uri: a.jsonl}, training: {backend: tpu}}",
        "{dataset: {uri: a.jsonl}, training: {training_num_epochs: 0}}",
        "{dataset: {uri: a.jsonl}, trainning: {}}",
    ],
)
def test_the_schema_refuses_what_a_pipeline_file_refuses(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())


# --- links


@pages
def test_every_relative_link_and_image_exists(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if not re.match(r"[a-z]+://", target):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path) if path else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\((docs/[^)]+\.md)\)", (CHECKOUT / "README.md").read_text()))
    assert linked == {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"}


@pages
def test_every_path_into_the_repository_exists(page):
    folders = "docs|examples|ft_assets|resources|scripts|tests"
    paths = re.findall(rf"(?<![\w./-])(?:{folders})/[\w./*-]+", without_blocks(page.read_text()))
    for path in paths:
        # The target of a link is checked from its own page; pictures come with `make screenshots`.
        if "/" in path and not path.startswith("docs/images"):
            assert list(CHECKOUT.glob(path.rstrip("./"))), f"{page.name}: {path}"


# --- variables and messages


def test_every_environment_variable_of_the_readme_is_read():
    readme = (CHECKOUT / "README.md").read_text()
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", readme, re.MULTILINE))
    assert {"FT_HOME", "HF_TOKEN", "DAGSTER_HOME"} <= named
    assert named <= texts_in_code()


@pages
def test_every_variable_of_ours_is_read(page):
    assert set(re.findall(r"\bFT_[A-Z_]+\b", page.read_text())) <= texts_in_code()


def test_every_variable_that_the_code_reads_stands_in_the_readme():
    read = {text for text in texts_in_code() if re.fullmatch(r"FT_[A-Z_]+", text)}
    readme = (CHECKOUT / "README.md").read_text()
    assert [name for name in sorted(read) if f"| `{name}` |" not in readme] == []


def test_every_message_of_the_troubleshooting_page_is_one():
    page = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    said = "\n".join([*texts_in_code(), (CHECKOUT / "Makefile").read_text()])
    messages = re.findall(r'^### "(.+)"$', page, re.MULTILINE)
    assert messages
    for message in messages:
        for part in re.split(r"\{\w+\}", message):
            assert part in said, message


def test_every_reason_of_the_data_page_is_one_and_none_is_missing():
    page = (CHECKOUT / "docs" / "data.md").read_text()
    table = page.partition("| reason | what is wrong |")[2].partition("\n\n")[0]
    named = {
        reason
        for line in table.splitlines()
        for reason in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    assert named == set(reasons())


def reasons() -> Iterator[str]:
    """The kinds of bad rows that the code tells apart."""
    places = {"RowError": 0, "BadRow": 2, "text_of": 2, "_beside": 3, "_bad": 1}
    for file in (CHECKOUT / "ft_assets" / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = node.func
                at = places.get(called.id if isinstance(called, ast.Name) else called.attr)
                kind = node.args[at] if at is not None and len(node.args) > at else None
                if isinstance(kind, ast.Constant):
                    yield str(kind.value)


@cache
def texts_in_code() -> set[str]:
    """Every text constant in the code, parts of f-strings among them."""
    files = [*(CHECKOUT / "ft_assets").rglob("*.py"), *(CHECKOUT / "resources").rglob("*.py")]
    return {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# --- the rest


def test_the_markers_are_those_of_pytest():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    markers = project["tool"]["pytest"]["ini_options"]["markers"]
    page = (CHECKOUT / "CONTRIBUTING.md").read_text()
    table = page.partition("| marker |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [m.split(":")[0] for m in markers]


def test_make_bench_runs_every_benchmark_that_has_a_figure():
    named, run = (
        set(re.findall(r"python (bench/\w+\.py)", (CHECKOUT / file).read_text()))
        for file in ("bench/README.md", "Makefile")
    )
    assert named <= run
    assert all((CHECKOUT / script).is_file() for script in run)


def test_the_changelog_has_the_version():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert f"## [{project['project']['version']}]" in (CHECKOUT / "CHANGELOG.md").read_text()


def test_the_licence_is_the_standard_text():
    assert hashlib.sha256((CHECKOUT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
