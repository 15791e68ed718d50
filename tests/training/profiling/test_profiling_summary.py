"""The numbers of a profile, on traces of which every number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import TrainingConfig
from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.profiling import remedies, timeline
from ft_assets.training.profiling.categories import category_of, direction_of
from ft_assets.training.profiling.files import find_trace
from ft_assets.training.profiling.markdown import summary_markdown
from ft_assets.training.profiling.memory import (
    MAX_POINTS,
    Held,
    MemoryRecord,
    Resident,
    held_in_snapshot,
    held_over_time,
)
from ft_assets.training.profiling.summary import summarize
from resources.errors import UserError
from tests.support.chrome_traces import event, kernel, memory, write_trace

GIB = 1 << 30


def shares(summary: Any) -> dict[str, float]:
    return {part.category: round(part.share, 3) for part in summary.categories}


def record(**fields: Any) -> MemoryRecord:
    nothing = {"first_step": 4, "last_step": 6, "resident": [], "held": {}, "segments": []}
    return MemoryRecord(**{**nothing, **fields})


# The CPU: own time of operators.


def test_an_operator_s_time_is_without_what_it_called(tmp_path):
    trace = write_trace(
        tmp_path,
        [
            event("aten::addmm", 20, 60),  # in any order, as the profiler writes them
            event("aten::linear", 0, 100),
            event("aten::t", 10, 5),
            event("aten::silu", 100, 100),
            event("aten::silu", 0, 50, tid=2),  # another thread lies in nobody
        ],
    )
    summary = summarize(trace)
    times = {operator.name: operator for operator in summary.operators}
    assert summary.device == "cpu"
    assert times["aten::linear"].seconds == pytest.approx(35e-6)
    assert times["aten::addmm"].seconds == pytest.approx(60e-6)
    assert (times["aten::silu"].calls, times["aten::silu"].seconds) == (2, pytest.approx(150e-6))
    assert summary.work_seconds == pytest.approx(250e-6)
    assert summary.window_seconds == pytest.approx(200e-6)
    assert shares(summary) == {"elementwise": 0.6, "matmul": 0.38, "other": 0.02}
    assert [operator.name for operator in summary.operators][:2] == ["aten::silu", "aten::addmm"]


def test_what_runs_inside_the_optimizer_or_attention_belongs_to_it(tmp_path):
    trace = write_trace(
        tmp_path,
        [
            event("Optimizer.step#AdamW.step", 0, 100, cat="user_annotation"),
            event("aten::mul_", 0, 40),
            event("aten::scaled_dot_product_attention", 200, 60),
            event("aten::bmm", 210, 40),
            event("aten::mul_", 300, 100),
        ],
    )
    assert shares(summarize(trace)) == {"elementwise": 0.5, "attention": 0.3, "optimizer": 0.2}


def test_gaps_on_the_cpu_are_where_no_thread_has_an_operator(tmp_path):
    trace = write_trace(
        tmp_path,
        [
            event("aten::mm", 0, 100),
            event("aten::mm", 50, 100, tid=2),
            event("aten::t", 60, 5, tid=2),  # ends before what it lies in
            event("aten::mm", 190, 10),
            event("optimizer step 4", 0, 200, cat="user_annotation"),
        ],
    )
    summary = summarize(trace)
    assert summary.idle.seconds == pytest.approx(40e-6)
    assert (summary.idle.share, summary.idle.count) == (pytest.approx(0.2), 1)
    assert summary.steps == 1
    assert (summary.gpu_use, summary.small_kernels) == (None, None)


# The GPU: kernels.

GPU_TRACE = [
    event("aten::linear", 0, 1000),  # the CPU waits: no work of the GPU
    kernel("sm90_xmma_gemm_bf16bf16_bf16f32_tn_n", 100, 200),
    kernel("void flash::flash_fwd_kernel<...>", 300, 100),
    kernel("Memcpy HtoD (Pageable -> Device)", 350, 100, stream=8),  # half of it beside attention
    kernel("Memset (Device)", 500, 5),
    kernel("void at::native::vectorized_elementwise_kernel<4, ...>", 600, 5),
]


def test_gpu_use_counts_what_runs_at_once_only_once(tmp_path):
    summary = summarize(write_trace(tmp_path, GPU_TRACE))
    assert summary.device == "gpu"
    assert summary.gpu_use == pytest.approx(0.36)
    assert summary.idle.seconds == pytest.approx(145e-6)
    assert summary.idle.longest_seconds == pytest.approx(95e-6)
    assert summary.work_seconds == pytest.approx(410e-6)
    assert summary.small_kernels == pytest.approx(0.4)
    assert summary.memory_operations == pytest.approx(105 / 410)
    assert summary.copies.h2d == pytest.approx(100e-6)
    assert summary.copies.set == pytest.approx(5e-6)
    assert shares(summary) == {
        "matmul": 0.488,
        "copies": 0.256,
        "attention": 0.244,
        "elementwise": 0.012,
    }


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("aten::addmm", "matmul"),
        ("aten::mm", "matmul"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTT", "matmul"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu>", "matmul"),
        ("mkldnn::_linear_pointwise", "matmul"),
        ("aten::mkldnn_linear", "matmul"),
        ("_RowAttentionBackward", "attention"),
        ("_SummedCrossEntropyBackward", "loss"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(...)", "attention"),
        ("void at::native::vectorized_layer_norm_kernel<float, float>", "normalisation"),
        ("_rms_norm_forward_kernel", "normalisation"),
        ("aten::_fused_adamw_", "optimizer"),
        ("void at::native::multi_tensor_apply_kernel<...FusedAdamMathFunctor>", "optimizer"),
        ("aten::_log_softmax", "loss"),
        ("liger_cross_entropy_kernel", "loss"),
        ("aten::nll_loss_backward", "loss"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("aten::copy_", "copies"),
        ("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage)", "communication"),
        ("void at::native::unrolled_elementwise_kernel<...>", "elementwise"),
        ("aten::mul", "elementwise"),
        ("aten::mean", "elementwise"),
        ("aten::transpose", "other"),
        ("autograd::engine::evaluate_function: MmBackward0", "other"),
        ("something nobody has seen", "other"),
    ],
)
def test_names_tell_the_kind_of_work(name, category):
    assert category_of(name) == category


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("Memcpy HtoD (Pinned -> Device)", "h2d"),
        ("Memcpy DtoH (Device -> Pageable)", "d2h"),
        ("Memcpy DtoD (Device -> Device)", "d2d"),
        ("Memcpy PtoP (Device -> Device)", "d2d"),
        ("aten::copy_", "host"),
        ("Memset (Device)", "set"),
        ("aten::zero_", "set"),
    ],
)
def test_names_tell_where_a_copy_goes(name, direction):
    assert direction_of(name) == direction


# Memory.


def test_peaks_and_fragmentation_come_from_the_allocator(tmp_path):
    events = [
        *GPU_TRACE,
        memory(100, 3 * GIB, 8 * GIB, device=1),
        memory(200, 6 * GIB, 8 * GIB, device=1),
        memory(300, 1 * GIB, 8 * GIB, device=1),
        memory(300, 99 * GIB),  # main memory is not the GPU's
    ]
    use = summarize(write_trace(tmp_path, events)).memory
    assert (use.peak_allocated_mib, use.peak_reserved_mib) == (6144, 8192)
    assert use.fragmentation == pytest.approx(0.25)


def test_the_record_tells_what_the_trace_does_not(tmp_path):
    trace = write_trace(tmp_path, GPU_TRACE)
    written = record(
        resident=[Resident(seconds=0, bytes=GIB), Resident(seconds=1, bytes=2 * GIB)],
        held={"cuda:0": [Held(seconds=0, allocated=GIB, reserved=4 * GIB)]},
    )
    (tmp_path / "memory.json").write_text(written.model_dump_json())
    summary = summarize(trace)
    assert summary.memory.peak_resident_mib == 2048
    assert summary.memory.fragmentation == pytest.approx(0.75)
    assert summary.steps == 3


def test_on_the_cpu_there_is_no_fragmentation(tmp_path):
    trace = write_trace(tmp_path, [event("aten::mm", 0, 10), memory(1, GIB), memory(2, GIB // 2)])
    use = summarize(trace).memory
    assert (use.peak_allocated_mib, use.peak_reserved_mib, use.fragmentation) == (1024, None, None)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"first_step": "x"}', "\x80\x04pickled"])
def test_a_damaged_record_is_refused(tmp_path, text):
    trace = write_trace(tmp_path, GPU_TRACE)
    (tmp_path / "memory.json").write_text(text)
    with pytest.raises(UserError, match=r"memory\.json: .* is not as it was written"):
        summarize(trace)


def test_a_snapshot_s_history_is_followed_backwards_from_its_end():
    segments = [{"device": 0, "total_size": 100, "allocated_size": 30}]
    history = [
        {"action": "segment_alloc", "size": 40, "time_us": 1_000_000},
        {"action": "alloc", "size": 35, "time_us": 2_000_000},
        {"action": "free_requested", "size": 25, "time_us": 3_000_000},
        {"action": "free_completed", "size": 25, "time_us": 4_000_000},
    ]
    held = held_in_snapshot(segments, [history, []])
    assert held == {
        "cuda:0": [
            Held(seconds=0, allocated=20, reserved=100),
            Held(seconds=1, allocated=55, reserved=100),
            Held(seconds=2, allocated=30, reserved=100),
            Held(seconds=3, allocated=30, reserved=100),
        ]
    }


def test_a_timeline_of_memory_is_bounded_and_keeps_its_peak():
    events = [memory(n, 1000 + n % 7 + (5000 if n == 7777 else 0)) for n in range(20_000)]
    points = held_over_time(events)["cpu"]
    assert len(points) <= MAX_POINTS
    assert max(point.allocated for point in points) == 6000 + 7777 % 7


# Remedies.


def test_there_are_three_remedies_with_the_crossed_thresholds_first(tmp_path):
    events = [*GPU_TRACE, memory(200, 6 * GIB, 9 * GIB, device=1)]
    found = summarize(write_trace(tmp_path, events)).remedies
    assert [remedy.parameter for remedy in found[:2]] == ["max_tokens_per_gpu", "env"]
    assert "36%" in found[0].finding
    assert "33%" in found[1].finding
    assert "expandable_segments" in found[1].advice
    assert [remedy.beyond_threshold for remedy in found] == [True, True, False]


def test_a_profile_without_faults_still_says_where_the_time_goes(tmp_path):
    trace = write_trace(
        tmp_path,
        [
            event("aten::mm", 0, 40),
            event("aten::scaled_dot_product_attention", 40, 35),
            event("aten::mul", 75, 25),
        ],
    )
    found = summarize(trace).remedies
    assert [remedy.parameter for remedy in found] == ["precision", "attention", "threads"]
    assert not any(remedy.beyond_threshold for remedy in found)
    assert "auto" in found[0].advice  # not every processor with bf16 is faster in it


CROSSED = {
    "gpu_use": ({"gpu_use": 0.49}, {"gpu_use": 0.51}, "of the time (below"),
    "fragmentation": ({"fragmentation": 0.21}, {"fragmentation": 0.2}, "holds no tensor"),
    "memory_operations": ({"memory_operations": 0.11}, {"memory_operations": 0.1}, "copies"),
    "small_kernels": ({"small_kernels": 0.6}, {"small_kernels": 0.5}, "shorter than"),
    "idle": ({"idle": 0.25}, {"idle": 0.2}, "lies between"),
}


@pytest.mark.parametrize("name", CROSSED)
def test_a_remedy_comes_with_its_threshold_and_not_before(tmp_path, name):
    quiet = summarize(
        write_trace(tmp_path, [kernel("aten::transpose", 0, 100), kernel("Other", 100, 100)])
    )
    crossed, kept, words = CROSSED[name]

    def changed(values: dict[str, float]) -> list[str]:
        update: dict[str, Any] = {**values}
        if "fragmentation" in values:
            update = {"memory": quiet.memory.model_copy(update=values)}
        if "idle" in values:
            update = {"idle": quiet.idle.model_copy(update={"share": values["idle"]})}
        return [
            remedy.finding
            for remedy in remedies.remedies_for(quiet.model_copy(update=update))
            if remedy.beyond_threshold
        ]

    assert len(changed(crossed)) == 1
    assert words in changed(crossed)[0]
    assert changed(kept) == []


def test_every_remedy_names_a_parameter_that_there_is():
    named = {parameter for table in remedies._LARGEST.values() for parameter, _ in table.values()}
    assert named | {"env", "use_liger", "max_tokens_per_gpu"} <= TrainingConfig.model_fields.keys()


# The page of the asset.


def test_the_page_has_the_remedies_first_and_no_name_breaks_a_table(tmp_path):
    trace = write_trace(tmp_path, [event("aten::mm", 0, 90), event("a|b`c", 90, 10)])
    page = summary_markdown(summarize(trace))
    assert page.index("`training.precision`") < page.index("aten::mm")
    assert "| `a/b'c` | 10.0% | 1 |" in page
    assert "None" not in page


# What is refused.


def test_a_profile_is_found_in_an_artifact_a_run_folder_and_its_own(tmp_path):
    trace = write_trace(tmp_path / "run" / "profile", GPU_TRACE)
    assert find_trace(tmp_path / "run") == trace
    assert find_trace(tmp_path / "run" / "profile") == trace
    assert find_trace(trace) == trace
    stored = write_trace(tmp_path / "version" / "files" / "profile", GPU_TRACE)
    assert find_trace(tmp_path / "version") == stored


def test_a_folder_without_a_profile_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"no trace\.json\.gz .*training\.profiler_steps"):
        find_trace(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        find_trace(tmp_path / "nothing")


def test_a_pickle_is_refused_by_its_name(tmp_path):
    (tmp_path / "snapshot.pickle").write_bytes(b"")
    with pytest.raises(UserError, match="never read"):
        find_trace(tmp_path / "snapshot.pickle")


@pytest.mark.parametrize("time", [None, "soon", True, float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize("field", ["ts", "dur"])
def test_an_event_without_valid_times_is_refused_by_its_number(tmp_path, field, time):
    bad = {**event("aten::mm", 0, 1), field: time}
    with pytest.raises(UserError, match="event 2 of the trace"):
        summarize(write_trace(tmp_path, [event("aten::mm", 0, 1), bad]))


def test_a_trace_without_operators_is_refused(tmp_path):
    with pytest.raises(UserError, match="no operator and no kernel"):
        summarize(write_trace(tmp_path, [memory(1, 1)]))


def test_more_operators_than_are_kept_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline, "MAX_INTERVALS", 2)
    with pytest.raises(UserError, match=r"fewer steps \(training\.profiler_steps\)"):
        summarize(write_trace(tmp_path, [event("aten::mm", n, 1) for n in range(3)]))


def test_names_are_bounded_and_cannot_steer_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline, "MAX_NAMES", 2)
    names = ["\x1b[2Jaten::mm", "a" * 5000, "b", "c"]
    events = [event(name, n, 1) for n, name in enumerate(names)]
    found = {operator.name for operator in summarize(write_trace(tmp_path, events)).operators}
    assert found == {"?[2Jaten::mm", "a" * 300, "(further names)"}


@pytest.mark.parametrize(
    ("start", "steps", "total", "fits"),
    [
        (0, 1, 1, True),
        (3, 5, 8, True),
        (3, 6, 8, False),
        (8, 1, 8, False),
        (0, 0, 8, False),
        (-1, 2, 8, False),
    ],
)
def test_a_window_must_lie_in_the_run(start, steps, total, fits):
    if fits:
        ProfileWindow(start, steps).check(total)
        return
    with pytest.raises(UserError) as refused:
        ProfileWindow(start, steps).check(total)
    message = str(refused.value)
    assert f"training.profiler_steps_start: {start}" in message
    assert f"training.profiler_steps: {steps}" in message
    assert f"{total} optimizer steps" in message


def test_an_unknown_folder_is_no_trace(tmp_path: Path):
    (tmp_path / "trace.json.gz").mkdir()
    with pytest.raises(UserError, match="no trace"):
        find_trace(tmp_path)
