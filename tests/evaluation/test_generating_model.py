"""Two models in one evaluation: which of them answers what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ft_assets.evaluation.cache import ResultCache
from ft_assets.evaluation.cache_model import CachedModel
from ft_assets.evaluation.generating_model import GeneratingModel
from ft_assets.evaluation.models import backend_of, check_model, close, load
from ft_assets.evaluation.plan import EvaluationPlan

MakePlan = Callable[..., EvaluationPlan]
GENERATION, LIKELIHOOD = "generate_until", "loglikelihood"


def opened(make_plan: MakePlan, folder: Path) -> Any:
    plan = make_plan(models=[{"name": "m", "path": str(folder)}], tasks=["x"])
    return load(check_model(plan.models[0], plan, None), plan)


def prompts(*tasks: str) -> list[Any]:
    from lm_eval.api.instance import Instance

    settings = {"until": ["<never>"], "max_gen_toks": 6, "do_sample": False}
    return [
        Instance("generate_until", {}, (f"Say {n} to me", settings), 0, (task, n, 1))
        for n, task in enumerate(tasks)
    ]


def test_texts_come_from_the_other_model_and_likelihoods_do_not(
    make_plan: MakePlan, base_model: Path, tuned_model: Path
) -> None:
    from lm_eval.api.instance import Instance

    first, other = opened(make_plan, base_model), opened(make_plan, tuned_model)
    loaded: list[int] = []
    both: Any = GeneratingModel(first, lambda: loaded.append(1) or other, "vllm")
    ask = [Instance("loglikelihood", {}, ("a question", " an answer"), 0, ("t", 0, 1))]
    assert both.loglikelihood(ask) == first.loglikelihood(ask) != other.loglikelihood(ask)
    assert loaded == []
    asked = prompts("echo", "echo", "echo")
    assert both.generate_until(asked) == other.generate_until(asked) != first.generate_until(asked)
    both.generate_until(asked)
    assert loaded == [1]
    assert [backend_of(both, kind, "echo") for kind in (GENERATION, LIKELIHOOD)] == ["vllm", "hf"]
    assert backend_of(both, GENERATION, "held_out") == "hf"
    assert backend_of(first, GENERATION, "echo") == "hf"


def test_answers_of_one_backend_are_not_those_of_the_other(
    make_plan: MakePlan, base_model: Path, tuned_model: Path, tmp_path: Path
) -> None:
    first, other = opened(make_plan, base_model), opened(make_plan, tuned_model)

    def cached(lm: Any) -> Any:
        def extra(kind: str, task: str) -> dict[str, str]:
            backend = backend_of(lm, kind, task)
            return {} if backend == "hf" else {"backend": backend}

        cache = ResultCache(tmp_path / "cached", "ab" * 32, {})
        return CachedModel(cast("Any", lm), cache, seed=1, extra=extra)

    asked = prompts("echo", "echo")
    with_hf, with_vllm = cached(first), cached(GeneratingModel(first, lambda: other, "vllm"))
    answers = with_hf.generate_until(asked)
    assert with_vllm.generate_until(asked) != answers
    assert (with_vllm.hits, with_vllm.asked) == (0, 2)
    again = cached(GeneratingModel(first, lambda: other, "vllm"))
    assert again.generate_until(asked) == with_vllm.generate_until(asked)
    assert again.asked == 0


class Closable:
    """A model that says when it ends."""

    def __init__(self, lm: Any, said: list[str]) -> None:
        self.generate_until = lm.generate_until
        self.said = said

    def close(self) -> None:
        self.said.append("closed")


def test_the_other_model_ends_when_the_evaluation_of_a_model_does(
    make_plan: MakePlan, base_model: Path, tmp_path: Path
) -> None:
    lm, said = opened(make_plan, base_model), list[str]()
    both: Any = GeneratingModel(lm, lambda: Closable(lm, said), "vllm")
    cached: Any = CachedModel(both, ResultCache(tmp_path / "cached", "ab" * 32, {}), seed=1)
    close(cached)
    assert said == []  # it was never loaded
    cached.generate_until(prompts("echo"))
    close(cached)
    close(cached)
    assert said == ["closed"]
    close(lm)  # of transformers: nothing to end


def test_loading_the_other_model_changes_no_draws(make_plan: MakePlan, base_model: Path) -> None:
    import torch

    lm = opened(make_plan, base_model)

    def load_other() -> Any:
        torch.manual_seed(7)  # as vLLM does
        return lm

    both: Any = GeneratingModel(lm, load_other, "vllm")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    both.generate_until(prompts("echo"))
    assert torch.equal(torch.get_rng_state(), before)
