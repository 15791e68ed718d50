"""Chat templates by name, for base models that have none."""

from __future__ import annotations

import pytest

from ft_assets.training.templates import NAMED, chat_template_text
from resources.errors import UserError


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_name_stands_for_its_template(name):
    assert chat_template_text(name) == NAMED[name]


def test_jinja_text_stands_for_itself():
    assert chat_template_text("{{ messages[0]['content'] }}") == "{{ messages[0]['content'] }}"


def test_any_other_text_is_refused_and_the_names_are_told():
    with pytest.raises(UserError, match="'chatmll' is neither Jinja text nor one of chatml, plain"):
        chat_template_text("chatmll")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"),
        ("plain", "User: Hi\nAssistant: Ho<eos>"),
    ],
)
def test_what_a_template_renders(name, text):
    import jinja2

    # As transformers compiles them: the templates must hold no line that trimming changes.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(NAMED[name])
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert template.render(messages=messages, eos_token="<eos>") == text
    prompt = template.render(messages=messages[:1], eos_token="<eos>", add_generation_prompt=True)
    assert text.startswith(prompt)
    assert "Ho" not in prompt
    assert text.removeprefix(prompt).startswith("Ho")
