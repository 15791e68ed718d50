"""The one way to write a row down. Every id of every stored dataset depends on these bytes."""

import pytest

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("row", "written"),
    [
        (
            {"messages": [{**USER, "name": "Jo"}, {"role": "assistant", "content": "é"}]},
            '{"messages":[{"content":"Hi","name":"Jo","role":"user"},'
            '{"content":"é","role":"assistant"}]}',
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": None,
                        "reasoning": "Hm",
                        "weight": 1,
                        "tool_calls": [{"name": "f", "arguments": {"b": 1, "a": [2]}, "id": "1"}],
                    },
                ],
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
            '{"messages":[{"content":"Hi","role":"user"},{"content":"","reasoning_content":"Hm",'
            '"role":"assistant","tool_calls":[{"function":{"arguments":{"a":[2],"b":1},'
            '"name":"f"},"id":"1","type":"function"}],"train":true}],'
            '"tools":[{"function":{"name":"f"},"type":"function"}]}',
        ),
        ({"segments": [{"text": "a", "label": 1}]}, '{"segments":[{"label":true,"text":"a"}]}'),
        ({"text": "a"}, '{"text":"a"}'),
        ({"labels": None, "input_ids": [1, 2]}, '{"input_ids":[1,2],"labels":[1,2]}'),
    ],
)
def test_the_canonical_form_is_fixed(row, written):
    assert canonical_bytes(normalize(row)) == written.encode()


def test_text_is_kept_as_it_is():
    composed, decomposed = (
        normalize({"messages": [USER, {"role": "assistant", "content": text}]})
        for text in ("é", "e\u0301")
    )
    assert row_id(composed) != row_id(decomposed)
