"""Chat templates by name, for base models that have none."""

from __future__ import annotations

from resources.errors import UserError

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

NAMED = {"chatml": _CHATML, "plain": _PLAIN}
"""``chatml`` needs a tokenizer with <|im_start|> and <|im_end|>; ``plain`` only an end token."""


def chat_template_text(name_or_text: str) -> str:
    """The Jinja text of a template given by name or as text.

    Raises:
        UserError: it is neither a known name nor a template.
    """
    if name_or_text in NAMED:
        return NAMED[name_or_text]
    if "{%" not in name_or_text and "{{" not in name_or_text:
        raise UserError(
            f"training.chat_template: {name_or_text!r} is neither Jinja text nor one of "
            f"{', '.join(sorted(NAMED))}"
        )
    return name_or_text
