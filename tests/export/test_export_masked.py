"""What an exported manifest says about environment variables."""

from __future__ import annotations

import base64
import json

from ft_assets.export.masked import masked
from resources.store.manifest import encode_json

SECRET = "http://joe:hunter2@proxy:3128"


def manifest(env: dict[str, str]) -> bytes:
    config = {"algorithm": "sft", "env": env}
    quoted = base64.b64encode(json.dumps(config).encode()).decode()
    return encode_json(
        {
            "digest": "d",
            "metadata": {"provenance": {"config": config}, "plan": {"backend": "cpu", "env": env}},
            "attestation": {"payload": quoted},
        }
    )


def test_values_of_environment_variables_stay_behind_and_their_names_travel():
    kept = manifest({"HTTPS_PROXY": SECRET})
    said = json.loads(masked(kept))

    env = {"HTTPS_PROXY": "(masked)"}
    assert said["metadata"]["provenance"]["config"] == {"algorithm": "sft", "env": env}
    assert said["metadata"]["plan"] == {"backend": "cpu", "env": env}
    assert said["attestation"] is None, "it quotes the values"
    assert said["digest"] == "d"


def test_a_manifest_without_such_values_is_exported_as_it_is():
    assert masked(manifest({})) == manifest({})
    bare = encode_json({"digest": "d", "metadata": {}})
    assert masked(bare) == bare
