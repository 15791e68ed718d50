"""The court's checks block registration, one status per drop, and say who overruled them."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.checks.court_checks import check_results, check_specs
from ft_assets.court import CheckVerdict, Overrule, Verdict

KEY = ["demo", "eval_report"]
NAMES = ["complete", "beats_base", "beats_champion", "no_forgetting"]


def _verdict(*failed: str, overruled: Overrule | None = None) -> Verdict:
    return Verdict(
        passed=not failed or overruled is not None,
        reason="the reason",
        checks=[
            CheckVerdict(name=name, passed=name not in failed, reason=f"because of {name}")
            for name in NAMES
        ],
        overruled=overruled,
    )


def test_the_checks_block_and_have_a_status_for_each_drop():
    drops = dg.DynamicPartitionsDefinition(name="drops")
    specs = check_specs(KEY, drops)

    assert [spec.name for spec in specs] == NAMES
    assert {spec.asset_key for spec in specs} == {dg.AssetKey(KEY)}
    assert all(spec.blocking for spec in specs)
    assert all(spec.partitions_def == drops for spec in specs)


def test_the_checks_are_declared_without_a_warning(recwarn):
    check_specs(KEY, dg.DynamicPartitionsDefinition(name="drops"))
    assert [str(warning.message) for warning in recwarn] == []


def test_a_candidate_that_won_passes_every_check():
    results = check_results(KEY, _verdict())

    assert [result.check_name for result in results] == NAMES
    assert all(result.passed for result in results)


@pytest.mark.parametrize("failed", NAMES)
def test_a_failed_check_is_an_error_with_its_reason(failed):
    results = {result.check_name: result for result in check_results(KEY, _verdict(failed))}

    assert [name for name, result in results.items() if not result.passed] == [failed]
    assert results[failed].severity == dg.AssetCheckSeverity.ERROR
    assert results[failed].description == f"because of {failed}"


def test_a_check_that_the_verdict_does_not_speak_of_fails():
    results = check_results(KEY, Verdict(passed=True, reason="from somewhere else"))
    assert not any(result.passed for result in results)


def test_an_overruled_check_passes_with_a_warning_that_names_the_person():
    verdict = _verdict("beats_base", overruled=Overrule(name="Ada", reason="it is urgent"))
    results = {result.check_name: result for result in check_results(KEY, verdict)}

    overruled = results["beats_base"]
    assert overruled.passed
    assert overruled.severity == dg.AssetCheckSeverity.WARN
    assert overruled.description == (
        "overruled by Ada (it is urgent), against: because of beats_base"
    )
    assert overruled.metadata["overruled_by"].value == "Ada"
    assert results["complete"].description == "because of complete", "it passed by itself"
    assert results["complete"].severity == dg.AssetCheckSeverity.ERROR
