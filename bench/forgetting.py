"""How much of task A a model forgets while it learns task B: SFT against OSFT, same budget.

Task A is the demo's: say what a function of Python's standard library does. Task B asks the other
way round, with the other drop's rows: name the function that does what is described. SmolLM2-135M
learns A by SFT, and from there B twice, by SFT and by OSFT, with the same rows in the same order
and as many steps. The learning rate is the same too, unless ``--osft-learning-rate`` names another
for OSFT: Adam makes its steps in the free directions alone as long as SFT's in all of them, so that
at one rate OSFT moves the weights further.

Held-out losses (nats per token of the answer, mean over the rows) of A and B after each; forgetting
is the rise of A's loss while B is learned.

Everything is repeated for three seeds, which choose the split and the order of the rows. OSFT
forgets less when the mean over the seeds of (forgetting by SFT - forgetting by OSFT) is above its
standard error. Prints one JSON object, whose ``conclusion`` says so or why not.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_runs import (
    BATCH,
    LEARNING_RATE,
    ROOT,
    base_model,
    conversations,
    first_rows,
    held_out_losses,
    split_rows,
    train,
)
from update_geometry import movements

DROPS = ROOT / "examples" / "python-docs"
_NAME = re.compile(r"`([^`]+)`")


def task_b(drop: Path, to: Path) -> Path:
    """The other question to the same answer: what is described, and what is its name?"""
    with to.open("w") as stream:
        for question, answer in conversations(drop):
            name = _NAME.search(question["content"])
            assert name is not None, question
            module, _, function = name.group(1).rpartition(".")
            turns = [
                {
                    "role": "user",
                    "content": f"Which name in Python's standard library is this? "
                    f"{answer['content']}",
                },
                {"role": "assistant", "content": f"`{function}`, in `{module}`."},
            ]
            stream.write(json.dumps({"messages": turns}) + "\n")
    return to


def one_seed(
    seed: int, steps: int, measured: int, threads: int, osft_learning_rate: float
) -> dict[str, Any]:
    """Held-out losses of A and of B: of the base model, after A, and after B by both algorithms.

    Beside them, under ``updates``, where the weights went.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        drops = {
            "a": DROPS / "drop-1.jsonl",
            "b": task_b(DROPS / "drop-2.jsonl", scratch / "b.jsonl"),
        }
        rows, held_out = {}, {}
        for task, drop in drops.items():
            train_rows, others = split_rows(drop, scratch / task, seed)
            rows[task] = first_rows(train_rows, steps * BATCH, scratch / f"{task}-train.jsonl")
            held_out[task] = first_rows(others, measured, scratch / f"{task}-held-out.jsonl")

        def learn(start: Path, task: str, algorithm: str, rate: float = LEARNING_RATE) -> Path:
            run_dir = scratch / f"{task}-{algorithm}"
            settings: dict[str, Any] = {"algorithm": algorithm, "seed": seed, "threads": threads}
            settings["learning_rate"] = rate
            return train(start, rows[task], run_dir, **settings)

        base = base_model()
        after_a = learn(base, "a", "sft")
        models = {
            "base": base,
            "after_a": after_a,
            "after_b_sft": learn(after_a, "b", "sft"),
            "after_b_osft": learn(after_a, "b", "osft", osft_learning_rate),
        }
        found: dict[str, Any] = {
            name: losses(model, held_out, scratch) for name, model in models.items()
        }
        after_b = {algorithm: models[f"after_b_{algorithm}"] for algorithm in ("sft", "osft")}
        return found | {"updates": movements(base, after_a, after_b)}


def losses(folder: Path, held_out: dict[str, Path], scratch: Path) -> dict[str, float]:
    """Mean held-out loss of each task."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return {
        task: statistics.mean(held_out_losses(model, folder, rows, scratch))
        for task, rows in held_out.items()
    }


def mean_and_error(values: list[float]) -> dict[str, float]:
    """Mean over the seeds and its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return {"mean": round(statistics.mean(values), 4), "standard_error": round(error, 4)}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with standard errors, and what they say."""
    updates = mean_updates([seed.pop("updates") for seed in found])
    stages = {
        stage: {task: mean_and_error([seed[stage][task] for seed in found]) for task in ("a", "b")}
        for stage in found[0]
    }
    rise = {
        algorithm: [seed[f"after_b_{algorithm}"]["a"] - seed["after_a"]["a"] for seed in found]
        for algorithm in ("sft", "osft")
    }
    spared = mean_and_error(
        [by_sft - by_osft for by_sft, by_osft in zip(rise["sft"], rise["osft"], strict=True)]
    )
    behind = mean_and_error(
        [seed["after_b_osft"]["b"] - seed["after_b_sft"]["b"] for seed in found]
    )
    less = spared["mean"] > spared["standard_error"]
    return {
        "held_out_loss": stages,
        "forgetting": {algorithm: mean_and_error(values) for algorithm, values in rise.items()},
        "osft_forgets_less_by": spared,
        "osft_is_behind_on_b_by": behind,
        "osft_forgets_less": less,
        "updates": updates,
        "conclusion": conclusion(rise["sft"], spared, updates, less=less),
    }


def mean_updates(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Where the weights went, over the seeds."""
    return {
        of: {name: round(statistics.mean(seed[of][name] for seed in found), 4) for name in measures}
        for of, measures in found[0].items()
    }


def conclusion(
    by_sft: list[float],
    spared: dict[str, float],
    updates: dict[str, dict[str, float]],
    *,
    less: bool,
) -> str:
    """In words; where OSFT does not forget less, with what its update did to that of A."""
    difference = f"{spared['mean']} nats, standard error {spared['standard_error']}"
    if less:
        return f"OSFT forgets less of A than SFT does: by {difference}"
    if statistics.mean(by_sft) <= 0:
        return f"OSFT does not forget less ({difference}): SFT itself forgets nothing of A here"
    more = spared["mean"] < -spared["standard_error"]
    sft, osft, by_a = updates["sft"], updates["osft"], updates["a"]
    return (
        f"{'OSFT forgets more of A than SFT does' if more else 'no difference shown'} "
        f"({difference}). Measured: its update of the constrained "
        f"matrices is {osft['moved'] / sft['moved']:.2f} times SFT's in norm, "
        f"{osft['share_in_free_subspace']:.2f} of its square in the free directions "
        f"(SFT's {sft['share_in_free_subspace']:.2f}, A's own "
        f"{by_a['share_in_free_subspace']:.2f}); "
        f"it takes back {osft['a_undone']:.2f} of A's update (SFT's {sft['a_undone']:.2f}); "
        f"embeddings and norms, which it does not constrain, move "
        f"{osft['moved_elsewhere'] / sft['moved_elsewhere']:.2f} times as far"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=24, help="of each training, of 8 rows each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--held-out", type=int, default=32, help="rows of each task")
    parser.add_argument("--threads", type=int, default=0, help="0: the cores that are free")
    parser.add_argument("--osft-learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    from ft_assets.training.in_process.machine import free_cores

    threads = given.threads or free_cores()
    if given.one is not None:
        rate = given.osft_learning_rate
        print(json.dumps(one_seed(given.one, given.steps, given.held_out, threads, rate)))
        return
    found: list[dict[str, dict[str, float]]] = []
    for seed in given.seeds:  # a process each, so that none holds the memory of the one before
        options = ["--steps", str(given.steps), "--held-out", str(given.held_out)]
        options += ["--threads", str(threads), "--one", str(seed)]
        options += ["--osft-learning-rate", str(given.osft_learning_rate)]
        finished = subprocess.run(
            [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True
        )
        found.append(json.loads(finished.stdout.splitlines()[-1]))
        print(seed, found[-1], file=sys.stderr)
    setting = {
        "seeds": given.seeds,
        "steps": given.steps,
        "batch_rows": BATCH,
        "held_out_rows": given.held_out,
        "threads": threads,
        "learning_rate": {"sft": LEARNING_RATE, "osft": given.osft_learning_rate},
    }
    print(json.dumps({**summary(found), **setting}))


if __name__ == "__main__":
    main()
