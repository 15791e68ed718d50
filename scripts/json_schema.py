"""Write docs/pipeline.schema.json: the pipeline file as a JSON Schema, for editors.

``python scripts/json_schema.py`` makes it from the models in ``ft_assets/config``, so that an
editor completes and checks what ``ft check`` accepts: the name may be left out (it is then the
file's), and the parameter names of the Kubeflow pipelines stand beside ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ft_assets.config import PipelineSpec
from ft_assets.config.block import Block

TARGET = Path(__file__).parent.parent / "docs" / "pipeline.schema.json"

# Parameters that are text in the model and that may be written as a bare number in YAML.
NUMBER_OR_TEXT = {"batch", "cpu", "procs_per_worker"}


def json_schema() -> dict[str, Any]:
    """The schema of a pipeline file."""
    schema = PipelineSpec.model_json_schema()
    blocks: dict[str, type[Block]] = {
        field.annotation.__name__: field.annotation
        for field in PipelineSpec.model_fields.values()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Block)
    }
    for name, block in blocks.items():
        _as_written(schema["$defs"][name], block)
    _as_written(schema, PipelineSpec)
    schema["required"].remove("name")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ft-assets pipeline",
    }


def _as_written(schema: dict[str, Any], block: type[Block]) -> None:
    """Change the schema of a block's model into that of the block in a file."""
    names = block.seed_names()
    properties = schema["properties"]
    for name, described in properties.items():
        described.pop("seed_names", None)
        described.pop("title", None)  # pydantic's, the name in other words
        if "$ref" in described:
            described.pop("default", None)  # a whole block, which its own schema describes
        if name in NUMBER_OR_TEXT:
            described["type"] = ["string", "integer", "number"]
    for seed, name in names.items():
        properties[seed] = properties[name] | {
            "description": f"Another name of {name}, from the Kubeflow pipelines.",
        }
    required = [(name, *_seeds(names, name)) for name in schema.pop("required", [])]
    schema["required"] = [name for name, *seeds in required if not seeds]
    either = [
        {"oneOf": [{"required": [name]} for name in several]}
        for several in required
        if len(several) > 1
    ]
    if either:
        schema["allOf"] = either


def _seeds(names: dict[str, str], name: str) -> list[str]:
    return [seed for seed, ours in names.items() if ours == name]


def text() -> str:
    """The file's content."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(TARGET)
