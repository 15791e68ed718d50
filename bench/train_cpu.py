"""Tokens trained per second on the CPU: ours (SFT, OSFT, LoRA), TRL's SFTTrainer, and the floor.

SmolLM2-135M and the demo's rows, each side in a process of its own, in turn, medians over the
rounds. Tokens are those of the rows, padding not among them; the time is the wall time from the end
of the first step to the end of the last, with all that the trainers do in between.

- ours: the platform's worker, as a pipeline runs it, with the demo's batch of 8 rows; SFT also with
  activation checkpointing (``ours_recomputed``, whose memory is to be compared with that of TRL's
  defaults), and once in the precision that ``auto`` did not choose (``chosen_precision_ratio``),
  where the processor does not emulate that one.
- ``trl_defaults``: SFTConfig as it comes (bf16 autocast, activation checkpointing, the loss on all
  tokens, padded batches of 8 rows) but for what a CPU needs. A processor without bf16 instructions
  emulates them, very slowly: there that side is measured in two steps only, and ``trl_fp32`` is the
  same with bf16 off. Read ``ratio_to_trl_fp32`` there.
- ``trl_best``: the fastest, as measured in the first round, of padded, padding-free and bfd-packed
  batches, all with the loss on the answers only, no activation checkpointing, our optimizer and
  precision, and batches of as many rows or tokens.
- ``ratio_to_floor``: ours against the matrix products of the linear layers alone, at the same
  shapes and in the same precision, output layer for the trained tokens only.

The held-out loss compares ours and TRL (padded, the same batches) from the same base model after
the same rows; the difference is to stay within the standard error of its mean over the rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from train_sides import OURS, TRL
from training_runs import BATCH, ROOT, base_model, first_rows, split_rows

ALGORITHMS = ("ours_sft", "ours_osft", "ours_lora", "ours_recomputed")
CANDIDATES = ("trl_padded", "trl_padding_free", "trl_packed")
HELD_OUT_ROWS = 40
EMULATED = 0.33
"""Speed of bf16, as a part of that of fp32, below which the processor must be emulating it."""


class Sides:
    """Runs sides in child processes and keeps what they measured."""

    def __init__(self, model: Path, rows: Path, held_out: Path, threads: int) -> None:
        self.files = (str(model), str(rows), str(held_out))
        self.threads = threads
        self.measured: dict[str, list[dict[str, Any]]] = {}

    def run(self, side: str, steps: int | str) -> dict[str, Any]:
        script = Path(__file__).parent / "train_sides.py"
        command = [sys.executable, str(script), side, *self.files, str(steps), str(self.threads)]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(finished.stdout.splitlines()[-1])
        self.measured.setdefault(side, []).append(result)
        print(side, {k: v for k, v in result.items() if k != "losses"}, file=sys.stderr)
        return result

    def median(self, side: str, what: str = "tokens_per_second") -> float:
        return statistics.median(result[what] for result in self.measured[side])


def measure(sides: Sides, steps: int, rounds: int) -> str:
    """Measure all sides; returns the fastest candidate for TRL at its best."""
    trl = CANDIDATES
    for number in range(rounds):
        for side in (*ALGORITHMS, "trl_fp32", *trl):
            sides.run(side, steps)
        if number == 0:
            trl = (max(CANDIDATES, key=sides.median),)
    defaults = sides.run("trl_defaults", min(steps, 2))
    if defaults["tokens_per_second"] > EMULATED * sides.median("trl_fp32"):
        del sides.measured["trl_defaults"]
        for _ in range(rounds):
            sides.run("trl_defaults", steps)
        sides.run(other_precision(), steps)  # emulated, it would take as long as the rest together
    return trl[0]


def other_precision() -> str:
    """The side in the precision that ``auto`` does not choose on this machine."""
    from ft_assets.training.in_process.machine import precision

    return "ours_fp32" if precision("auto") == "bf16" else "ours_bf16"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12, help="of each; the first is not timed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0: the cores that are free")
    given = parser.parse_args()
    from ft_assets.training.in_process.machine import free_cores, precision

    threads = given.threads or free_cores()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        drop = ROOT / "examples" / "python-docs" / "drop-1.jsonl"
        train_rows, held_out = split_rows(drop, scratch)
        rows = first_rows(train_rows, given.steps * BATCH, scratch / "rows.jsonl")
        some = first_rows(held_out, HELD_OUT_ROWS, scratch / "some.jsonl")
        sides = Sides(base_model(), rows, some, threads)
        best = measure(sides, given.steps, given.rounds)
        shape = [round(sides.median("ours_sft", f"{of}_per_step")) for of in ("tokens", "trained")]
        floor = sides.run("floor", ",".join(str(number) for number in shape))
        profile = sides.run("profile", given.steps)
    figures = {
        **ratios(sides, best, floor["tokens_per_second"]),
        "where_the_time_goes": profile,
        **same_loss(sides),
        "threads": threads,
        "precision": precision("auto"),
        "batch_rows": BATCH,
        "steps": given.steps,
        "rounds": given.rounds,
    }
    print(json.dumps(figures))


def ratios(sides: Sides, best: str, floor: float) -> dict[str, Any]:
    """Speed and memory."""
    ours = sides.median("ours_sft")
    everything = [side for side in (*OURS, *TRL) if side in sides.measured]
    other = other_precision()
    chosen = {other: round(ours / sides.median(other), 2)} if other in sides.measured else None
    return {
        "tokens_per_second": round(ours, 1),
        "ratio_to_trl_defaults": round(ours / sides.median("trl_defaults"), 2),
        "ratio_to_trl_fp32": round(ours / sides.median("trl_fp32"), 2),
        "ratio_to_trl_best": round(ours / sides.median(best), 2),
        "osft_ratio_to_trl_defaults": round(
            sides.median("ours_osft") / sides.median("trl_defaults"), 2
        ),
        "osft_ratio_to_trl_fp32": round(sides.median("ours_osft") / sides.median("trl_fp32"), 2),
        "ratio_to_floor": round(ours / floor, 3),
        "floor_tokens_per_second": round(floor, 1),
        "chosen_precision_ratio": chosen,
        "trl_best": best,
        "each_tokens_per_second": {side: round(sides.median(side), 1) for side in everything},
        "peak_memory_mib": {side: round(sides.median(side, "peak_mib")) for side in everything},
    }


def same_loss(sides: Sides) -> dict[str, Any]:
    """Held-out loss of both after the same rows."""
    ours, trl = sides.measured["ours_sft"][0], sides.measured["trl_padded"][0]
    mean = statistics.mean(ours["losses"])
    error = statistics.stdev(ours["losses"]) / len(ours["losses"]) ** 0.5
    theirs = statistics.mean(trl["losses"])
    return {
        "held_out_loss": round(mean, 4),
        "held_out_loss_trl": round(theirs, 4),
        "held_out_standard_error": round(error, 4),
        "held_out_loss_is_the_same": abs(mean - theirs) <= error,
        "tokens_trained": {"ours": ours["tokens"], "trl": trl["tokens"]},
    }


if __name__ == "__main__":
    main()
