"""Whichever library computes it, it is the product."""

from __future__ import annotations

import pytest
import torch

from ft_assets.training.in_process import fp32_product
from ft_assets.training.in_process.fp32_product import product


@pytest.fixture(autouse=True)
def asked_again():
    fp32_product._onednn.cache_clear()
    yield
    fp32_product._onednn.cache_clear()


def on_a_processor(monkeypatch, tmp_path, words):
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {words}\n")
    monkeypatch.setattr(fp32_product, "CPU_INFO", tmp_path / "cpuinfo")


@pytest.mark.parametrize("words", ["AuthenticAMD avx512f", "GenuineIntel avx512f", "none"])
@pytest.mark.parametrize("turned", ["neither", "left", "right", "both"])
def test_it_is_the_product_however_the_matrices_lie(monkeypatch, tmp_path, words, turned):
    on_a_processor(monkeypatch, tmp_path, words)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator) for shape in ((30, 70), (70, 20)))
    if turned in ("left", "both"):
        left = left.T.contiguous().T
    if turned in ("right", "both"):
        right = right.T.contiguous().T
    exact = left.double() @ right.double()
    torch.testing.assert_close(product(left, right).double(), exact, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("words", ["AuthenticAMD avx512f", "GenuineIntel avx512f"])
def test_a_product_over_nothing_is_zero(monkeypatch, tmp_path, words):
    on_a_processor(monkeypatch, tmp_path, words)
    assert torch.equal(product(torch.ones(30, 0), torch.ones(0, 20)), torch.zeros(30, 20))
    assert product(torch.ones(30, 7), torch.ones(7, 0)).shape == (30, 0)


@pytest.mark.parametrize(
    ("words", "onednn"),
    [
        ("AuthenticAMD avx512f", True),
        ("AuthenticAMD avx2", False),
        ("GenuineIntel avx512f", False),  # MKL uses it there
    ],
)
def test_onednn_is_asked_where_mkl_holds_itself_back(monkeypatch, tmp_path, words, onednn):
    on_a_processor(monkeypatch, tmp_path, words)
    found = fp32_product._onednn()
    assert (found is not None) == (onednn and torch.backends.mkldnn.is_available())
