"""The profiler callback on real training of the tiny model, and what is made of its files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback, TrainingArguments

from ft_assets.cli import main
from ft_assets.training.in_process.profiler import ProfilerCallback
from ft_assets.training.in_process.recording import Recording
from ft_assets.training.in_process.tokens import Row
from ft_assets.training.in_process.trainer import RowTrainer
from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.profiling.memory import load_memory
from ft_assets.training.profiling.summary import summarize
from resources.errors import UserError
from tests.support.chrome_traces import event, write_trace

STEPS = 6


class Rows(torch.utils.data.Dataset[Row]):
    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> Row:
        return Row(torch.arange(20) + index, torch.arange(20) > 9)


class Stop(TrainerCallback):
    """Ends the run after a step, as the watchdog does, or as a failure does."""

    def __init__(self, after: int, error: Exception | None = None) -> None:
        self.after, self.error = after, error

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.after:
            if self.error:
                raise self.error
            control.should_training_stop = True


def train(model: Path, run_dir: Path, *callbacks: Any, resume: bool = False, save: int = 0) -> Any:
    trainer = RowTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=TrainingArguments(
            output_dir=str(run_dir),
            use_cpu=True,
            report_to="none",
            num_train_epochs=1,
            per_device_train_batch_size=1,
            optim="adamw_torch_fused",
            save_strategy="steps" if save else "no",
            save_steps=save or 500,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
        ),
        train_dataset=Rows(),
        callbacks=list(callbacks),
        max_tokens=512,
        packed=True,
    )
    trainer.train(resume_from_checkpoint=True if resume else None)
    return trainer


@pytest.fixture(scope="module")
def recorded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a profile. Read only."""
    run_dir = tmp_path_factory.mktemp("profiled") / "run"
    train(tiny_model, run_dir, ProfilerCallback(ProfileWindow(2, 3), run_dir))
    return run_dir


def profile_files(run_dir: Path) -> list[str]:
    return sorted(path.name for path in run_dir.glob("profile*/*"))


def ft_profile(path: Path, capfd: Any, *options: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(args=["profile", str(path), *options], prog_name="ft")
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def ft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Any) -> Any:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    return lambda path, *options: ft_profile(path, capfd, *options)


# What is recorded.


def test_a_profile_is_a_trace_and_a_memory_record_and_nothing_half_written(recorded):
    assert [path.name for path in recorded.glob("profile*")] == ["profile"]
    assert profile_files(recorded) == ["memory.json", "trace.json.gz"]


def test_the_summary_of_real_steps_finds_their_work(recorded):
    summary = summarize(recorded)
    work = {part.category: part for part in summary.categories}
    assert summary.device == "cpu"
    assert summary.steps == 3
    assert {"matmul", "attention", "optimizer", "loss", "elementwise", "copies"} <= work.keys()
    # In each of 3 steps 2 layers of 7 products, and the two gradients of each.
    assert work["matmul"].calls >= 3 * (2 * 7 * 3)
    assert sum(part.share for part in summary.categories) == pytest.approx(1)
    assert 0 < summary.work_seconds <= summary.window_seconds * 1.01
    assert summary.gpu_use is None
    assert 1 <= len(summary.remedies) <= 3


def test_memory_is_followed_over_the_steps(recorded):
    record = load_memory(recorded / "profile")
    assert record is not None
    assert (record.first_step, record.last_step) == (3, 5)
    assert len(record.resident) >= 2
    assert min(point.bytes for point in record.resident) > 50 << 20  # torch is loaded
    logits = 10 * 4 * AutoModelForCausalLM.from_pretrained(recorded_model(recorded)).vocab_size
    assert max(point.allocated for point in record.held["cpu"]) >= logits
    peak = summarize(recorded).memory.peak_allocated_mib
    assert peak == pytest.approx(max(p.allocated for p in record.held["cpu"]) / 2**20)
    assert record.segments == []


def recorded_model(recorded: Path) -> Path:
    return recorded.parent / "model"


@pytest.fixture(scope="module", autouse=True)
def _model_beside(recorded: Path, tiny_model: Path) -> None:
    recorded_model(recorded).symlink_to(tiny_model)


def test_profiling_does_not_change_the_weights(tiny_model, tmp_path):
    plain = train(tiny_model, tmp_path / "a").model.state_dict()
    window = ProfileWindow(1, 2)
    profiled = train(tiny_model, tmp_path / "b", ProfilerCallback(window, tmp_path / "b"))
    for name, weights in profiled.model.state_dict().items():
        assert torch.equal(weights, plain[name]), name


@pytest.mark.parametrize(("start", "steps"), [(0, STEPS + 1), (STEPS, 1), (5, 2)])
def test_a_window_outside_the_run_is_refused_before_the_first_step(
    tiny_model, tmp_path, start, steps
):
    with pytest.raises(UserError) as refused:
        train(tiny_model, tmp_path, ProfilerCallback(ProfileWindow(start, steps), tmp_path))
    message = str(refused.value)
    for part in (f"profiler_steps_start: {start}", f"profiler_steps: {steps}", f"{STEPS} opt"):
        assert part in message
    assert profile_files(tmp_path) == []


def test_the_whole_run_may_be_recorded(tiny_model, tmp_path):
    train(tiny_model, tmp_path, ProfilerCallback(ProfileWindow(0, STEPS), tmp_path))
    assert summarize(tmp_path).steps == STEPS


def test_a_run_that_is_stopped_in_the_window_leaves_what_was_recorded(tiny_model, tmp_path):
    train(tiny_model, tmp_path, ProfilerCallback(ProfileWindow(1, 4), tmp_path), Stop(after=3))
    assert summarize(tmp_path).steps == 2


def test_a_run_that_fails_in_the_window_leaves_nothing_and_the_next_attempt_goes_on(
    tiny_model, tmp_path
):
    window = ProfileWindow(1, 3)
    failing = ProfilerCallback(window, tmp_path)
    with pytest.raises(OSError, match="disk"):
        train(tiny_model, tmp_path, failing, Stop(3, OSError("disk")), save=2)
    failing.close()
    assert profile_files(tmp_path) == []

    train(tiny_model, tmp_path, ProfilerCallback(window, tmp_path), resume=True, save=2)
    record = load_memory(tmp_path / "profile")
    assert record is not None
    assert (record.first_step, record.last_step) == (3, 4)  # resumed after step 2


def test_a_profile_of_an_earlier_attempt_is_kept(tiny_model, tmp_path):
    window = ProfileWindow(0, 1)
    train(tiny_model, tmp_path, ProfilerCallback(window, tmp_path))
    before = (tmp_path / "profile" / "trace.json.gz").read_bytes()
    train(tiny_model, tmp_path, ProfilerCallback(window, tmp_path))
    assert (tmp_path / "profile" / "trace.json.gz").read_bytes() == before
    train(tiny_model, tmp_path, ProfilerCallback(ProfileWindow(1, 2), tmp_path))  # another window
    assert summarize(tmp_path).steps == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_kernels_copies_and_the_allocator_are_recorded(tmp_path):
    recording = Recording(tmp_path)
    matrix = torch.randn(2048, 2048)
    (matrix.cuda() @ matrix.cuda()).sum().item()  # libraries load here
    recording.start(first_step=1)
    recording.begin_step(1)
    product = matrix.cuda()
    for _ in range(20):
        product = product @ product / 2048
    product.cpu()
    recording.finish(last_step=1)
    assert profile_files(tmp_path) == ["memory.json", "snapshot.pickle", "trace.json.gz"]
    summary = summarize(tmp_path)
    work = {part.category: part.share for part in summary.categories}
    assert (summary.device, summary.steps) == ("gpu", 1)
    assert work["matmul"] > 0
    assert summary.gpu_use is not None
    assert 0 < summary.gpu_use <= 1
    assert summary.copies.h2d > 0
    assert summary.copies.d2h > 0
    assert summary.memory.peak_allocated_mib is not None
    assert summary.memory.peak_allocated_mib >= 2 * 16  # two matrices of 16 MiB
    assert summary.memory.fragmentation is not None
    record = load_memory(tmp_path / "profile")
    assert record is not None
    assert record.segments
    assert max(point.allocated for point in record.held["cuda:0"]) >= 2 * 16 << 20


# The command.


def test_the_command_prints_tables_and_json(recorded, ft):
    code, out, _ = ft(recorded)
    assert code == 0
    for part in ("matmul", "top operators", "what to change", "training.", "peak of tensors"):
        assert part in out
    code, out, _ = ft(recorded, "--json")
    assert code == 0
    assert json.loads(out) == summarize(recorded).model_dump(mode="json")


def test_a_truncated_trace_is_one_clear_message(recorded, tmp_path, ft):
    packed = (recorded / "profile" / "trace.json.gz").read_bytes()
    file = tmp_path / "trace.json.gz"
    for length in (0, 1, 10, len(packed) // 2, len(packed) - 1):
        file.write_bytes(packed[:length])
        code, out, err = ft(file)
        assert (code, out) == (1, "")
        assert str(file) in err
        assert len(err.splitlines()) == 1


def test_a_hostile_name_is_shown_and_not_obeyed(tmp_path, ft):
    write_trace(tmp_path, [event("\x1b]0;owned\x07[red]aten::mm[/]", 0, 10)])
    code, out, _ = ft(tmp_path)
    assert code == 0
    assert "[red]aten::mm[/]" in out
    assert "\x1b]0;" not in out


class Malicious:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_snapshot_is_never_unpickled(tmp_path, ft):
    mark = tmp_path / "mark"
    malicious = pickle.dumps(Malicious(mark))
    pickle.loads(malicious)
    assert mark.is_dir(), "the pickle does not do what this test is about"
    mark.rmdir()

    folder = tmp_path / "run" / "profile"
    write_trace(folder, [event("aten::mm", 0, 10)])
    (folder / "snapshot.pickle").write_bytes(malicious)
    assert ft(tmp_path / "run")[0] == 0
    assert ft(folder)[0] == 0
    assert ft(folder / "snapshot.pickle")[0] == 1
    (folder / "trace.json.gz").unlink()
    assert ft(folder)[0] == 1
    for name in ("memory.json", "trace.json.gz"):  # under the names that are read
        write_trace(folder, [event("aten::mm", 0, 10)])
        (folder / name).write_bytes(malicious)
        assert ft(folder)[0] == 1
        (folder / name).unlink()
    assert not mark.exists()
