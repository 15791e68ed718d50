"""A small chain from a registered version to its sources, published and signed as a pipeline does.

Nothing is trained: models and reports are a few bytes. The whole of it, with a trained model, is in
``test_verify_pipeline.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ft_assets.assets.step import input_records
from ft_assets.provenance.digest import file_digest, value_digest
from ft_assets.provenance.envelope import seal
from ft_assets.provenance.keys import SigningKey, VerifyKey
from ft_assets.provenance.own_tasks import tasks_digest
from ft_assets.provenance.record import ProvenanceRecord, now
from ft_assets.provenance.statement import statement_of
from ft_assets.provenance.verify import KnownPipeline, Surroundings, verify_version
from ft_assets.training.base_model import locate
from resources.registry import EmbeddedRegistry, RegisteredVersion, Registration
from resources.sources import Sources
from resources.store import Artifact, ArtifactStore

PIPELINE, DROP = "tiny", "drop-1"
MODEL = "assistant"


@dataclass(frozen=True)
class Keys:
    """A pair of keys as files."""

    private: Path
    public: Path

    @property
    def signing(self) -> SigningKey:
        """The private key, read."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self.private.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return SigningKey(self.private, key)

    @property
    def verifying(self) -> VerifyKey:
        """The public key, read."""
        return VerifyKey(self.public, self.signing.key.public_key())


def make_keys(folder: Path, name: str = "key") -> Keys:
    key = ec.generate_private_key(ec.SECP256R1())
    keys = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    keys.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys.public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return keys


@dataclass(frozen=True)
class Chain:
    """Everything behind one registered version."""

    root: Path
    keys: Keys
    signed: bool

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(root=str(self.root / "artifacts"))

    @property
    def database(self) -> Path:
        return self.root / "registry.db"

    @property
    def registry(self) -> EmbeddedRegistry:
        return EmbeddedRegistry(path=str(self.database))

    @property
    def source(self) -> Path:
        return self.root / "data" / "rows.jsonl"

    @property
    def base_model(self) -> Path:
        return self.root / "base"

    @property
    def own_tasks(self) -> Path:
        return self.root / "tasks"

    @property
    def version(self) -> RegisteredVersion:
        return self.registry.get(MODEL, "1.0.0")

    def artifact(self, asset: str) -> Artifact:
        return self.store.open([PIPELINE, asset], DROP)

    def manifest(self, asset: str) -> Path:
        return self.artifact(asset).path.parent / "manifest.json"

    def around(self, *, with_key: bool) -> Surroundings:
        return Surroundings(
            store=self.store.backend,
            sources=Sources(data_roots=[str(self.root)]),
            pipelines={PIPELINE: KnownPipeline(self.root, "spec")},
            key=self.keys.verifying if with_key else None,
        )

    def verify(self, *, with_key: bool | None = None):
        """The walk from the registered version; with the key where the chain is signed."""
        key = self.signed if with_key is None else with_key
        return verify_version(self.version, self.around(with_key=key))

    def publish(
        self,
        asset: str,
        inputs: Sequence[Artifact],
        files: dict[str, bytes],
        data_version: str | None = None,
        **metadata: Any,
    ) -> Artifact:
        config = {"asset": asset, "learning_rate": 0.01}
        record = ProvenanceRecord(
            pipeline=PIPELINE,
            asset=asset,
            partition=DROP,
            run_id="run-1",
            code_version="1",
            config=config,
            config_digest=value_digest(config),
            spec_digest="spec",
            inputs=input_records(inputs),
            started_at=now(),
        ).model_dump(mode="json")
        with self.store.publish(
            [PIPELINE, asset], DROP, metadata={"provenance": record, **metadata}
        ) as draft:
            key = self.keys.signing if self.signed else None
            draft.attest = lambda manifest: seal(
                statement_of(manifest.model_dump(mode="json", exclude={"attestation"})), key
            )
            draft.data_version = data_version
            for name, content in files.items():
                (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
                (draft.path / name).write_bytes(content)
        assert draft.artifact is not None
        return draft.artifact


def make_chain(root: Path, *, signed: bool) -> Chain:
    root.mkdir(parents=True, exist_ok=True)
    chain = Chain(root, make_keys(root), signed)
    chain.source.parent.mkdir()
    chain.source.write_bytes(b'{"messages": []}\n')
    chain.base_model.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (chain.base_model / name).write_bytes(name.encode())
    chain.own_tasks.mkdir()
    (chain.own_tasks / "planets.yaml").write_text("task: planets\n")
    rows = chain.source.read_bytes()
    raw = chain.publish("raw_dataset", [], {"rows.jsonl": rows}, _sha(rows), source=_source(chain))
    split = chain.publish("split_dataset", [raw], {"train.jsonl": rows, "held_out.jsonl": b"{}\n"})
    tokens = chain.publish("token_report", [split], {"lengths.svg": b"<svg/>"})
    weights = {"model/config.json": b"{}", "model/model.safetensors": b"weights"}
    model = chain.publish(
        "finetuned_model",
        [split, tokens],
        {**weights, "metrics.jsonl": b"{}\n"},
        value_digest([[name.removeprefix("model/"), _sha(v)] for name, v in weights.items()]),
        plan={"base_model": _base_model(chain)},
    )
    report = chain.publish(
        "eval_report",
        [split, model],
        {"results.json": b"{}", "samples/tuned/held_out.jsonl": b"{}\n"},
        model_data_version=model.data_version,
        own_tasks={"folder": "tasks", "digest": tasks_digest(chain.own_tasks)},
    )
    register_in(chain, model, report)
    return chain


def register_in(chain: Chain, model: Artifact, report: Artifact, **more: float) -> None:
    """Register the model, with further properties, and publish what was registered."""
    version = chain.registry.register(
        Registration(
            model=MODEL,
            digest=model.data_version,
            uri=f"{model.uri}/model",
            author="run-1",
            properties={"held_out_loss": 1.5, "eval_report_digest": report.digest, **more},
        )
    )
    row = {
        name: value
        for name, value in asdict(version).items()
        if name not in ("created", "state", "stage", "updated_at")
    }
    chain.publish(
        "registered_version", [model, report], {"registration.json": json.dumps(row).encode()}
    )


def _sha(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _source(chain: Chain) -> dict[str, Any]:
    return {
        "uri": str(chain.source),
        "revision": None,
        "files": [
            {
                "name": chain.source.name,
                "size": chain.source.stat().st_size,
                "sha256": file_digest(chain.source),
                "etag": None,
                "modified": None,
            }
        ],
    }


def _base_model(chain: Chain) -> dict[str, Any]:
    return locate(
        str(chain.base_model),
        folder=chain.root,
        models=chain.root / "models",
        chat_template=None,
        hf_token_env="HF_TOKEN",
    ).model_dump(mode="json")


@pytest.fixture(scope="module")
def signed_chain(tmp_path_factory) -> Chain:
    """Shared: a test that changes something puts it back (``flipped``)."""
    return make_chain(tmp_path_factory.mktemp("signed"), signed=True)


@pytest.fixture(scope="module")
def unsigned_chain(tmp_path_factory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("unsigned"), signed=False)
