"""The evaluation with vLLM itself, on its build for the CPU: `make test-vllm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.samples import read_samples
from ft_assets.evaluation.vllm_build import vllm_build
from tests.evaluation.conftest import ROWS, write_rows
from tests.support.tiny_model import make_tiny_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        vllm_build() != "cpu", reason="vLLM's build for the CPU is not installed: make test-vllm"
    ),
    pytest.mark.timeout(900),
]

PROMPTS = [
    *(f"Which planet is number {n} from the sun?" for n in range(1, 9)),
    "The library opens at",
    "How do I renew a book that",
    "Water boils at one hundred degrees, a little less on a",
    "Größe: zwei Meter — 2 m ✓",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
]
CUT = "\ufffd"
"""A character of which the last token says only a part: vLLM leaves it out at a text's end."""


def model_for_vllm(folder: Path, seed: int) -> Path:
    """The tiny model with heads that vLLM's attention on the CPU knows: from 32 numbers on."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(make_tiny_model(folder))
    config.hidden_size = 32 * config.num_attention_heads
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def task_file(folder: Path, name: str, generation: str) -> None:
    (folder / f"{name}.yaml").write_text(
        f"""\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/prompts.jsonl}}
  cache_dir: {folder}/cache
output_type: generate_until
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_target: answer
generation_kwargs: {{{generation}}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
    )


@dataclass(frozen=True)
class Place:
    """Where the evaluations of this file run."""

    folder: Path

    def plan(self, name: str, **fields: Any) -> EvaluationPlan:
        """Two models, all tasks, and answers and results of its own by the name."""
        models = [
            {"name": name, "path": str(self.folder / name), "digest": f"sha256:{at:064x}"}
            for at, name in enumerate(("base", "tuned"), 1)
        ]
        given: dict[str, Any] = {
            "models": models,
            "held_out": str(self.folder / "held_out.jsonl"),
            "held_out_generations": 2,
            "max_new_tokens": 8,
            "tasks": ["stops", "runs_on", "drawn"],
            "include_path": str(self.folder),
            "seeds": [7],
            "cache": str(self.folder / "answers" / name),
            "output_dir": str(self.folder / name / "out"),
            "backend": "vllm",
        }
        return EvaluationPlan.model_validate(given | fields)

    def worker(self, plan: EvaluationPlan) -> list[str]:
        """The command that a step starts."""
        file = self.folder / "plan.json"
        plan.write(file)
        return [sys.executable, "-m", "ft_assets.evaluation.worker", str(file)]

    def evaluate(self, name: str, **fields: Any) -> Evaluated:
        """A process of its own, as a step starts it."""
        plan = self.plan(name, **fields)
        done = subprocess.run(self.worker(plan), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return Evaluated(Path(plan.output_dir), done.stdout, done.stderr)


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation left."""

    folder: Path
    stdout: str
    stderr: str

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text())

    @property
    def log(self) -> str:
        return (self.folder / "evaluation.log").read_text()

    def answers(self, task: str, model: str = "base") -> list[str]:
        """What the model said to each prompt."""
        samples = read_samples(self.folder / "samples" / model / f"{task}.jsonl")
        return [str(sample.answer).rstrip(CUT) for sample in samples]

    def all_draws(self, model: str = "base") -> list[str]:
        """The drawn texts of all seeds."""
        file = self.folder / "samples" / model / "drawn.lm_eval.jsonl"
        lines = map(json.loads, file.read_text().splitlines())
        return [line["resps"][0][0] for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("vllm")
    model_for_vllm(folder / "base", seed=0)
    model_for_vllm(folder / "tuned", seed=1)
    write_rows(folder / "held_out.jsonl", ROWS)
    documents = [{"text": prompt, "answer": "x"} for prompt in PROMPTS]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    task_file(folder, "stops", 'until: ["e", "please"], max_gen_toks: 40, do_sample: false')
    task_file(folder, "runs_on", 'until: ["<never>"], max_gen_toks: 40, do_sample: false')
    task_file(
        folder, "drawn", 'until: ["<never>"], max_gen_toks: 8, temperature: 1.0, do_sample: true'
    )
    return Place(folder)


@pytest.fixture(scope="module")
def with_vllm(place: Place) -> Evaluated:
    return place.evaluate("with_vllm")


@pytest.fixture(scope="module")
def with_hf(place: Place) -> Evaluated:
    return place.evaluate("with_hf", backend="hf")


def test_the_report_says_what_answered_what(with_vllm: Evaluated) -> None:
    tasks = {"held_out": "hf", "stops": "vllm", "runs_on": "vllm", "drawn": "vllm"}
    assert with_vllm.results["backends"] == {"base": tasks, "tuned": tasks}


@pytest.mark.parametrize("model", ["base", "tuned"])
@pytest.mark.parametrize("task", ["stops", "runs_on"])
def test_greedy_texts_are_those_of_transformers_but_for_rounding(
    with_vllm: Evaluated, with_hf: Evaluated, task: str, model: str
) -> None:
    pairs = list(zip(with_vllm.answers(task, model), with_hf.answers(task, model), strict=True))
    assert len(pairs) == len(PROMPTS)
    assert sum(one == other for one, other in pairs) >= 0.8 * len(pairs), pairs
    assert len(set(with_hf.answers(task, model))) > len(pairs) / 2


def test_the_models_differ_as_their_weights_do(with_vllm: Evaluated) -> None:
    assert with_vllm.answers("runs_on", "base") != with_vllm.answers("runs_on", "tuned")


def test_held_out_rows_are_scored_as_without_vllm(with_vllm: Evaluated, with_hf: Evaluated) -> None:
    for model in ("base", "tuned"):
        one, other = (run.results["models"][model]["held_out"] for run in (with_vllm, with_hf))
        assert one == other


def test_vllm_is_as_quiet_as_the_rest(with_vllm: Evaluated, with_hf: Evaluated) -> None:
    assert with_vllm.stdout == with_hf.stdout == ""
    spoken = [line for line in with_vllm.stderr.splitlines() if not line.startswith("evaluate ")]
    assert spoken == []


def test_a_repeated_evaluation_asks_nothing(place: Place, with_vllm: Evaluated) -> None:
    again = place.evaluate("again", cache=str(place.folder / "answers" / "with_vllm"))
    assert "loading the model in vllm" in with_vllm.log
    assert "loading the model in vllm" not in again.log
    assert "reading the weights" not in again.log
    for task in ("stops", "runs_on"):
        assert again.answers(task) == with_vllm.answers(task)
    assert again.all_draws() == with_vllm.all_draws()
    assert again.results["backends"] == with_vllm.results["backends"]


def test_draws_follow_from_the_seed(place: Place, with_vllm: Evaluated) -> None:
    draws = with_vllm.all_draws()
    assert len(draws) == 2 * len(PROMPTS)
    assert len(set(draws)) > len(PROMPTS)
    anew = place.evaluate("anew", tasks=["drawn"], held_out=None, held_out_generations=0)
    assert anew.all_draws() == draws


def test_a_killed_evaluation_takes_the_processes_of_vllm_with_it(place: Place) -> None:
    plan = place.plan("killed", tasks=["stops"], held_out=None, held_out_generations=0)
    as_on_a_gpu = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with subprocess.Popen(place.worker(plan), env=as_on_a_gpu) as worker:
        of_vllm: list[psutil.Process] = []
        while not any(process.name().startswith("VLLM::Worker") for process in of_vllm):
            assert worker.poll() is None
            time.sleep(0.1)
            of_vllm = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
    _, alive = psutil.wait_procs(of_vllm, timeout=60)
    assert alive == []
