"""The documents of lm-eval tasks as text, as the worker writes them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.data.contamination import decontaminate
from ft_assets.evaluation.documents_worker import DocumentsPlan
from ft_assets.evaluation.task_documents import write_task_documents
from resources.errors import UserError

MakeTask = Callable[..., None]


@pytest.fixture
def make_task(task_folder: Path, tmp_path: Path) -> MakeTask:
    """Adds a task over local rows to the folder; the keyword arguments are lines of its file."""

    def make(name: str, rows: list[dict[str, Any]], **lines: str) -> None:
        split = lines.pop("split", "test")
        data = task_folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (task_folder / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\n"
            f"dataset_kwargs: {{data_files: {{{split}: {data}}}, cache_dir: {tmp_path}/cache}}\n"
            f"{'test_split' if split == 'test' else 'validation_split'}: {split}\n"
            + "".join(f"{key}: {value}\n" for key, value in lines.items())
        )

    return make


@pytest.fixture
def written(task_folder: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Writes the documents of some tasks; what is in the file."""

    def write(*names: str) -> list[dict[str, Any]]:
        path = tmp_path / "task_documents.jsonl"
        count = write_task_documents(names, str(task_folder), path)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert count == len(lines)
        return lines

    return write


def test_multiple_choice_has_the_text_of_the_right_choice(written) -> None:
    documents = written("planets")
    assert documents[1] == {
        "task": "planets",
        "doc_id": 1,
        "question": "Question 1:",
        "answers": ["two"],
        "choices": ["one", "two", "three"],
    }
    assert [document["doc_id"] for document in documents] == [0, 1, 2, 3, 4]


def test_generated_text_has_its_target(written) -> None:
    (_, second, _) = written("echo")
    assert (second["question"], second["answers"], second["choices"]) == ("Say 1", ["1"], [])


def test_groups_stand_for_their_members_and_tasks_stay_together(written, task_folder: Path) -> None:
    (task_folder / "all.yaml").write_text("group: all\ntask: [planets, echo]\n")
    assert [document["task"] for document in written("all")] == ["echo"] * 3 + ["planets"] * 5


def test_letters_become_the_choices_that_the_question_lists(written, make_task: MakeTask) -> None:
    rows = [{"q": "What is ice made of?", "options": ["Water", "Salt", "Iron"], "a": 0}]
    make_task(
        "lettered",
        rows,
        output_type="multiple_choice",
        doc_to_text='"{{q}}\\nA. {{options[0]}}\\nB. {{options[1]}}\\nC. {{options[2]}}\\nAnswer:"',
        doc_to_choice='["A", "B", "C"]',
        doc_to_target="a",
    )
    (document,) = written("lettered")
    assert document["question"] == "What is ice made of?\nA. Water\nB. Salt\nC. Iron\nAnswer:"
    assert (document["choices"], document["answers"]) == (["Water", "Salt", "Iron"], ["Water"])


def test_where_the_choices_are_contexts_the_right_one_is_the_question(
    written, make_task: MakeTask
) -> None:
    make_task(
        "contexts",
        [{"a": "The cup was small, so", "b": "The bag was small, so", "end": "it broke.", "n": 1}],
        output_type="multiple_choice",
        doc_to_text="n",
        doc_to_choice='"{{[a, b]}}"',
        doc_to_target="end",
    )
    (document,) = written("contexts")
    assert (document["question"], document["answers"]) == ("The bag was small, so", ["it broke."])


def test_text_without_a_question_is_itself_the_question(written, make_task: MakeTask) -> None:
    make_task(
        "pages",
        [{"page": "Once upon a time"}],
        output_type="loglikelihood_rolling",
        doc_to_text='""',
        doc_to_target="page",
        metric_list="[{metric: word_perplexity}]",
    )
    (document,) = written("pages")
    assert (document["question"], document["answers"]) == ("Once upon a time", [])


def test_several_right_answers_are_all_there(written, make_task: MakeTask) -> None:
    make_task(
        "several",
        [{"q": "Name a primary colour", "all": ["red", "blue"]}],
        output_type="generate_until",
        doc_to_text="q",
        doc_to_target="all",
        generation_kwargs='{until: ["x"]}',
    )
    assert written("several")[0]["answers"] == ["red", "blue"]


def test_without_a_test_split_the_validation_split_is_taken(written, make_task: MakeTask) -> None:
    make_task(
        "validated",
        [{"q": "Who is there?", "a": "Me"}],
        split="validation",
        output_type="generate_until",
        doc_to_text="q",
        doc_to_target="a",
    )
    assert [document["question"] for document in written("validated")] == ["Who is there?"]


def test_no_examples_are_put_before_the_question(written, task_folder: Path) -> None:
    path = task_folder / "planets.yaml"
    path.write_text(path.read_text() + "num_fewshot: 2\n")
    assert written("planets")[3]["question"] == "Question 3:"


def test_a_document_that_cannot_be_rendered_is_named(
    written, make_task: MakeTask, tmp_path: Path
) -> None:
    make_task(
        "broken",
        [{"q": "Fine", "n": 1}, {"q": "Not", "n": 0}],
        output_type="generate_until",
        doc_to_text='"{{q}} {{6 // n}}"',
        doc_to_target="q",
    )
    with pytest.raises(UserError, match=r"task 'broken', document 1: .*ZeroDivisionError"):
        written("broken")
    assert not (tmp_path / "task_documents.jsonl").exists()


def run_worker(plan: DocumentsPlan, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    (folder / "plan.json").write_text(plan.model_dump_json())
    return subprocess.run(
        [sys.executable, "-m", "ft_assets.evaluation.documents_worker", str(folder / "plan.json")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": str(folder)},
    )


def test_the_worker_writes_what_rows_are_compared_with(
    make_task: MakeTask, task_folder: Path, tmp_path: Path
) -> None:
    from ft_assets.data.canonical import canonical_bytes, row_id
    from ft_assets.data.row_files import row_line
    from ft_assets.data.shapes import Text

    question = "Why does a kettle sing shortly before the water in it starts to boil?"
    make_task(
        "kettles",
        [{"q": question, "a": "Bubbles collapse"}],
        output_type="generate_until",
        doc_to_text='"Question: {{q}}\\nAnswer:"',
        doc_to_target="a",
        generation_kwargs='{until: ["x"]}',
    )
    output = tmp_path / "documents.jsonl"
    plan = DocumentsPlan(
        tasks=["planets", "kettles"], include_path=str(task_folder), output=str(output)
    )
    done = run_worker(plan, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "task documents 5/0 task=planets",
        "task documents 6/0 task=kettles",
    ]
    rows = [Text("Kettles are for tea."), Text(f"I wondered: {question} It is known: bubbles.")]
    train = tmp_path / "train.jsonl"
    train.write_bytes(b"".join(row_line(row_id(r), canonical_bytes(r)) for r in rows))
    report = decontaminate(train, [output], tmp_path / "kept.jsonl")
    (found,) = report.examples
    assert (found.row, found.task, found.kind) == (2, "kettles", "question_only")


def test_the_worker_says_what_a_task_lacks(task_folder: Path, tmp_path: Path) -> None:
    (task_folder / "planets.jsonl").unlink()
    output = tmp_path / "documents.jsonl"
    plan = DocumentsPlan(tasks=["planets"], include_path=str(task_folder), output=str(output))
    done = run_worker(plan, tmp_path / "run")
    assert done.returncode == 2
    message = json.loads((tmp_path / "run" / "error.json").read_text())["message"]
    assert "task 'planets': its dataset json cannot be loaded" in message
    assert not output.exists()
