"""``ft court`` replays a verdict from artifacts: without a registry, a model or a run."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from ft_assets.cli.court import court
from ft_assets.evaluation.samples import samples_name, write_samples
from tests.court.conftest import Evaluation, losses, share


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("FT_PIPELINES", raising=False)


@dataclass(frozen=True)
class Call:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)


def _court(*arguments) -> Call:
    result = CliRunner().invoke(court, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Call(result.exit_code, result.stdout, result.stderr)


def _published(evaluation: Evaluation, folder, **promotion):
    """What ``eval_report`` publishes, as far as the court reads it."""
    verdict = evaluation.judged(**promotion)
    for model, tasks in evaluation.samples.items():
        (folder / "samples" / model).mkdir(parents=True)
        for task, samples in tasks.items():
            write_samples(folder / "samples" / model / samples_name(task), samples)
    (folder / "results.json").write_text(evaluation.summary.model_dump_json())
    (folder / "verdict.json").write_text(verdict.model_dump_json())
    return folder


def test_a_candidate_that_won_wins_again(first, tmp_path):
    folder = _published(first, tmp_path / "report")
    call = _court(folder, "--json")

    assert call.status == 0, call.stderr
    assert call.json["promoted"]
    assert call.json["same_as_recorded"]
    assert call.json["verdict"] == json.loads((folder / "verdict.json").read_text())


def test_a_candidate_that_lost_loses_again_with_status_1(first, tmp_path):
    call = _court(_published(first.swapped(), tmp_path / "report"), "--json")

    assert call.status == 1
    assert not call.json["promoted"]
    assert call.json["same_as_recorded"]
    assert call.json["error"].startswith("not promoted: held_out/loss is worse than the base")


def test_people_get_a_table_and_each_check(first, tmp_path):
    won, lost = (
        _court(_published(evaluation, tmp_path / name))
        for name, evaluation in {"won": first, "lost": first.swapped()}.items()
    )

    assert (won.status, lost.status) == (0, 1)
    assert "passed  beats_base" in won.stdout
    assert "the verdict is the recorded one" in won.stdout
    assert "failed  beats_base" in lost.stdout
    assert "not promoted: " in lost.stderr


def test_a_changed_sample_changes_the_verdict_and_is_said(first, tmp_path):
    folder = _published(first, tmp_path / "report")
    write_samples(folder / "samples" / "tuned" / "arc.jsonl", share(150))
    call = _court(folder, "--json")

    assert call.status == 1
    assert call.json["same_as_recorded"] is False


def test_the_champion_inside_the_report_is_compared(second, tmp_path):
    call = _court(_published(second, tmp_path / "report"), "--json")
    assert {c["against"] for c in call.json["verdict"]["comparisons"]} == {"base", "champion"}


def test_a_champion_of_another_report_is_compared_on_the_same_documents(
    first,
    tmp_path,
):
    candidate = _published(first, tmp_path / "candidate")
    turned = first.but("tuned", held_out=losses(1.9)[::-1])
    champion = _published(turned, tmp_path / "champion")

    call = _court(candidate, champion, "--json")
    assert call.status == 0, call.stderr
    assert {c["against"] for c in call.json["verdict"]["comparisons"]} == {"base", "champion"}

    back = _court(champion, candidate, "--json")
    assert back.status == 1
    assert "held_out/loss is worse than the champion's" in back.json["error"]


def test_a_champion_that_was_asked_another_version_of_a_task_is_refused(
    first,
    tmp_path,
):
    candidate = _published(first, tmp_path / "candidate")
    other = first.with_summary(task_versions={"held_out": "2", "arc": "1"})
    call = _court(candidate, _published(other, tmp_path / "champion"), "--json")

    assert call.status == 1
    assert "held_out was asked in another version for the champion (2)" in call.json["error"]


def test_who_overruled_in_the_report_does_not_overrule_against_another_champion(first, tmp_path):
    person = "Ada Lovelace: the base model is withdrawn on Friday"
    candidate = _published(first.swapped(), tmp_path / "candidate", overrule=person)
    champion = _published(first, tmp_path / "champion")

    assert _court(candidate, "--json").json["promoted"], "as it was recorded"
    call = _court(candidate, champion, "--json")
    assert call.status == 1
    assert not call.json["promoted"]
    assert call.json["verdict"]["overruled"] is None


def test_a_candidate_is_no_better_than_itself(first, tmp_path):
    folder = _published(first, tmp_path / "report")
    call = _court(folder, folder, "--json")
    assert call.status == 1
    assert "held_out/loss is not proven better than the champion's" in call.json["error"]


def test_the_rules_can_be_a_pipelines_of_today(first, tmp_path, monkeypatch):
    folder = _published(first, tmp_path / "report")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "strict.yaml").write_text(
        "dataset: {uri: rows.jsonl}\nevaluation: {tasks: [arc]}\npromotion: {min_samples: 500}\n"
    )
    monkeypatch.setenv("FT_PIPELINES", str(tmp_path / "pipelines"))

    call = _court(folder, "--rules", "strict", "--json")
    assert call.status == 1
    assert call.json["same_as_recorded"] is None
    assert "fewer than promotion.min_samples (500)" in call.json["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "'nothing' names no evaluation: give PIPELINE[@PARTITION], MODEL:VERSION or"),
        (["sft"], "has no artifact in"),
        (["sft@drop-1"], "has no artifact in"),
        (["model:1.0.0"], "model"),
    ],
)
def test_a_name_of_no_evaluation_is_refused(arguments, said):
    call = _court(*arguments, "--json")
    assert call.status == 1
    assert said in call.json["error"]
    assert "promoted" not in call.json


def test_a_folder_of_something_else_is_refused(tmp_path):
    call = _court(tmp_path, "--json")
    assert call.status == 1
    assert "is no published evaluation" in call.json["error"]


def test_a_damaged_report_is_refused(first, tmp_path):
    folder = _published(first, tmp_path / "report")
    (folder / "results.json").write_text("{}")
    assert "is damaged" in _court(folder, "--json").json["error"]


def test_without_rules_a_report_is_not_judged(first, tmp_path):
    folder = _published(first, tmp_path / "report")
    (folder / "verdict.json").unlink()
    assert "--rules PIPELINE" in _court(folder, "--json").json["error"]
