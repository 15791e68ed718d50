"""What an artifact states about itself: an in-toto Statement with SLSA's provenance predicate.

It follows from the manifest alone, so that a verifier makes it again and compares: what was
changed in one of the two shows. Belongs here: its content. Does not belong here: signing
(``envelope.py``) and walking from one artifact to the next (``verify.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from resources.store.manifest import attested_part

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:ft-assets:build:v1"
"""Names the form of the parameters below; docs/provenance.md describes it. A statement of another
form gets another number, and the verifier keeps what makes the old one."""


def encode(statement: Mapping[str, Any]) -> bytes:
    """The statement's canonical JSON: sorted keys, no spaces."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def artifact_name(key: list[str] | tuple[str, ...], partition: str | None) -> str:
    """``PIPELINE/ASSET@PARTITION``; without the partition where there is none."""
    name = "/".join(key)
    return name if partition is None else f"{name}@{partition}"


def statement_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The statement about the artifact that ``manifest`` (its JSON) describes."""
    record: Mapping[str, Any] = manifest["metadata"]["provenance"]
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subject(manifest),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "pipeline": record["pipeline"],
                    "asset": record["asset"],
                    "partition": record["partition"],
                    "config": record["config"],
                },
                "internalParameters": {
                    "codeVersion": record["code_version"],
                    "configDigest": record["config_digest"],
                    "specDigest": record["spec_digest"],
                    "dataVersion": manifest["data_version"],
                },
                "resolvedDependencies": [
                    *(_input(item) for item in record["inputs"]),
                    *_base_model(manifest),
                    *_source_files(manifest),
                    *_own_tasks(manifest),
                    _code(record),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": f"urn:ft-assets:builder:{record['builder']['host']}",
                    "version": record["packages"],
                },
                "metadata": {
                    "invocationId": record["run_id"],
                    "startedOn": record["started_at"],
                    "finishedOn": manifest["created_at"],
                },
                "byproducts": [_manifest(manifest), _environment(record)],
            },
        },
    }


def _subject(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The artifact as a whole, then each of its files."""
    name = artifact_name(manifest["key"], manifest["partition"])
    return [
        {"name": name, "digest": {"sha256": manifest["digest"]}},
        *(
            {"name": f"files/{file['path']}", "digest": {"sha256": file["sha256"]}}
            for file in manifest["files"]
        ),
    ]


def _input(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": artifact_name([item["asset"]], item["partition"]),
        "uri": item["uri"],
        "digest": {"sha256": item["digest"]},
        "annotations": {"dataVersion": item["data_version"]},
    }


def _base_model(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the training plan says about it, for a trained model."""
    base = base_model_of(manifest)
    if base is None:
        return []
    return [
        {
            "name": f"base model {base['name']}",
            "digest": {"sha256": base["digest"]},
            "annotations": {
                "kind": base["kind"],
                "location": base["location"],
                "revision": base["revision"],
            },
        }
    ]


def base_model_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The base model in the manifest of a trained model; None in any other."""
    plan: Any = manifest["metadata"].get("plan")
    return cast("dict[str, Any]", plan).get("base_model") if isinstance(plan, dict) else None


def _source_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"source file {file['name']}",
            "uri": source["uri"],
            "digest": {"sha256": file["sha256"]},
            "annotations": {"revision": source["revision"], "size": file["size"]},
        }
        for source in sources_of(manifest)
        for file in source["files"]
    ]


def sources_of(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was read from outside, in the manifest of the first asset; nothing in any other."""
    metadata = manifest["metadata"]
    return [metadata[name] for name in ("source", "eval_source") if name in metadata]


def _own_tasks(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pipeline's own evaluation tasks, in the manifest of a report that asked them."""
    tasks: Any = manifest["metadata"].get("own_tasks")
    if not isinstance(tasks, dict):
        return []
    found = cast("dict[str, Any]", tasks)
    return [{"name": f"tasks {found['folder']}", "digest": {"sha256": found["digest"]}}]


def _code(record: Mapping[str, Any]) -> dict[str, Any]:
    code = record["code"]
    commit = {} if code["commit"] is None else {"gitCommit": code["commit"]}
    return {"name": "code of ft-assets", "digest": {"sha256": code["digest"], **commit}}


def _manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(attested_part(manifest)).hexdigest()
    return {"name": "manifest.json without its attestation", "digest": {"sha256": digest}}


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "environment",
        "annotations": {
            "user": record["builder"]["user"],
            "host": record["builder"]["host"],
            "image": record["builder"]["image"],
            "python": record["python"],
            "platform": record["platform"],
        },
    }
