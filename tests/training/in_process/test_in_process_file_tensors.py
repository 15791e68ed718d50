"""Tensors that wait in a file are what they were, and leave no file."""

from __future__ import annotations

from pathlib import Path

import torch

from ft_assets.training.in_process.file_tensors import keep_in_a_file


def test_each_keeps_its_values_and_may_be_written_to(tmp_path):
    tensors = [torch.randn(3, 5), torch.randn(4, 2).T, torch.randn(7)[2:5], torch.tensor(2.5)]
    before = [tensor.clone() for tensor in tensors]
    keep_in_a_file(tensors, tmp_path)
    for tensor, values in zip(tensors, before, strict=True):
        assert torch.equal(tensor, values)
        assert tensor.is_contiguous()
    tensors[1].mul_(2)
    assert torch.equal(tensors[1], before[1] * 2)
    assert torch.equal(tensors[0], before[0])
    assert torch.equal(tensors[2], before[2])


def test_they_take_no_memory_and_leave_no_file(tmp_path):
    tensor = torch.ones(64 * 2**18)  # 64 MiB
    keep_in_a_file([tensor], tmp_path)
    assert not list(tmp_path.iterdir())
    mappings = Path("/proc/self/smaps").read_text().split("VmFlags")
    (mapping,) = [text for text in mappings if str(tmp_path) in text]
    assert "(deleted)" in mapping
    (resident,) = [line for line in mapping.splitlines() if line.startswith("Rss:")]
    assert int(resident.split()[1]) == 0


def test_none_need_no_file(tmp_path):
    keep_in_a_file([], tmp_path / "missing")
