"""A model that was trained here earlier, as a model to load."""

from __future__ import annotations

import json

from ft_assets.training.base_folder import prepare
from ft_assets.training.base_model import is_used_in_place
from ft_assets.training.start_folder import known_folder, own_special_tokens


def test_special_tokens_are_read_in_both_forms_and_flags_are_none(tmp_path):
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<s>"}}))
    said = {"pad_token": "<pad>", "add_bos_token": False, "eos_token": None, "model_max_length": 8}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    assert own_special_tokens(tmp_path) == {"bos_token": "<s>", "pad_token": "<pad>"}


def test_it_is_loaded_where_it_lies(tiny_base_model, tmp_path):
    ref = known_folder(tiny_base_model, "d" * 64, hf_token_env="HF_TOKEN", special_tokens={})
    assert ref.digest == "d" * 64
    assert is_used_in_place(ref)
    assert prepare(ref, tmp_path) == tiny_base_model


def test_other_special_tokens_make_another_model_of_it(tiny_base_model, tmp_path):
    tokens = {"pad_token": next(iter(own_special_tokens(tiny_base_model).values()))}
    ref = known_folder(tiny_base_model, "d" * 64, hf_token_env="HF_TOKEN", special_tokens=tokens)
    assert ref.digest != "d" * 64
    made = prepare(ref, tmp_path)
    assert made != tiny_base_model
    assert own_special_tokens(made)["pad_token"] == tokens["pad_token"]
