"""Every parameter of the evaluation block reaches lm-eval and the models, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ft_assets.config import EvaluationConfig
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.samples import read_samples
from resources.errors import UserError

MakePlan = Callable[..., EvaluationPlan]
Evaluate = Callable[[EvaluationPlan], dict[str, Any]]

# The parameters of the seeds' third stage, each with a value that is not its default.
STAGE_3: dict[str, Any] = {
    "phase_03_eval_man_tasks": ["planets", "echo"],
    "phase_03_eval_opt_batch": "3",
    "phase_03_eval_opt_gen_kwargs": {"max_gen_toks": 5, "temperature": 0.5},
    "phase_03_eval_opt_limit": 2,
    "phase_03_eval_opt_log_samples": False,
    "phase_03_eval_opt_model_args": {"dtype": "bfloat16"},
    "phase_03_eval_opt_verbosity": "DEBUG",
}


def plan_of(config: EvaluationConfig, make_plan: MakePlan, **more: Any) -> EvaluationPlan:
    """As the assets do it: the block's parameters are the plan's fields of the same name."""
    fields = {name: getattr(config, name) for name in EvaluationConfig.model_fields}
    return make_plan(**{**fields, **more})


def test_every_parameter_of_the_block_is_a_field_of_the_plan() -> None:
    assert set(EvaluationConfig.model_fields) <= set(EvaluationPlan.model_fields)


@pytest.mark.slow
def test_each_parameter_of_stage_three_reaches_lm_eval(
    make_plan: MakePlan,
    evaluate: Evaluate,
    task_folder: Path,
    held_out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from lm_eval import evaluator

    calls: list[tuple[Any, Any, dict[str, Any]]] = []
    real = evaluator.evaluate

    def watched(lm: Any, tasks: Any, **options: Any) -> Any:
        done: Any = real(lm, tasks, **options)
        calls.append((lm, tasks, options))
        return done

    monkeypatch.setattr(evaluator, "evaluate", watched)
    config = EvaluationConfig.model_validate(STAGE_3)
    plan = plan_of(
        config,
        make_plan,
        held_out=str(held_out),
        include_path=str(task_folder),
        held_out_generations=0,
    )
    results = evaluate(plan)
    asked = {name: task for _, tasks, _ in calls for name, task in tasks["tasks"].items()}
    lm = calls[-1][0]
    requests = [instance.args for instance in asked["echo"].instances]
    folder = Path(plan.output_dir)
    reached = {
        "phase_03_eval_man_tasks": sorted(set(asked) - {"held_out"}) == ["echo", "planets"],
        "phase_03_eval_opt_batch": (int(lm.batch_size), lm.chat_batch) == (3, "3"),
        "phase_03_eval_opt_gen_kwargs": [
            (r[1]["max_gen_toks"], r[1]["temperature"], r[1]["do_sample"]) for r in requests
        ]
        == [(5, 0.5, True)] * 2,
        "phase_03_eval_opt_limit": [options["limit"] for *_, options in calls] == [2, 2, 2]
        and results["partial"],
        "phase_03_eval_opt_log_samples": all(
            sample.prompt is None
            for path in (folder / "samples" / "base").glob("*.jsonl")
            for sample in read_samples(path)
        ),
        "phase_03_eval_opt_model_args": lm.model.dtype is torch.bfloat16,
        "phase_03_eval_opt_verbosity": " DEBUG " in (folder / "evaluation.log").read_text(),
    }
    assert reached == dict.fromkeys(STAGE_3, True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_args": {"trust_remote_code": True}}, "allow_model_args"),
        ({"model_args": {"pretrained": "other"}}, "the pipeline's own"),
        ({"model_args": {"dtyp": "float32"}}, "did you mean 'dtype'"),
        ({"gen_kwargs": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"allow_model_args": ["pretrained"]}, "the pipeline's own"),
        ({"model_args": {"tensor_parallel_size": 2}, "backend": "hf"}, "it is vLLM's"),
    ],
)
def test_what_nothing_would_read_is_refused(
    make_plan: MakePlan, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        plan_of(EvaluationConfig.model_validate({"tasks": ["planets"], **fields}), make_plan)


def test_pickled_weights_are_read_only_where_they_are_allowed_by_name(make_plan: MakePlan) -> None:
    pickled = {"model_args": {"use_safetensors": False}}
    with pytest.raises(UserError, match="pickled weights, which run code"):
        plan_of(EvaluationConfig.model_validate(pickled), make_plan)
    allowed = {**pickled, "allow_model_args": ["use_safetensors"]}
    assert plan_of(EvaluationConfig.model_validate(allowed), make_plan)
    safe = {"model_args": {"use_safetensors": True}}
    assert plan_of(EvaluationConfig.model_validate(safe), make_plan)


def test_an_argument_that_is_allowed_by_name_is_taken(make_plan: MakePlan) -> None:
    config = EvaluationConfig.model_validate(
        {"model_args": {"trust_remote_code": True}, "allow_model_args": ["trust_remote_code"]}
    )
    assert plan_of(config, make_plan).model_args == {"trust_remote_code": True}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seeds": [42]}, "name one twice"),
        ({"seeds": [-1]}, "seeds holds -1"),
        ({"num_fewshot": -1}, "greater than or equal to 0"),
        ({"held_out_generations": -1}, "greater than or equal to 0"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"backend": "other"}, "'auto', 'hf' or 'vllm'"),
    ],
)
def test_values_that_can_never_work_are_refused_in_the_pipeline_file(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        EvaluationConfig.model_validate(fields)
