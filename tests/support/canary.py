"""Canaries: a distinct value in the place of every secret, and the search for them.

Belongs here: the values, the forms that a secret can take when it leaks, and how places are read.
A place is an iterable of ``(where, content)``; ``leaks`` searches any number of them. Does not
belong here: which places a test looks at.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import secrets
import sqlite3
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Seen = tuple[str, bytes]
"""Where it stands, and what stands there."""

_SPECIAL = "/+ &='\"%"
"""What the forms write each in its own way: a search for the plain value alone would miss it."""
_UNPACKED = 64 << 20
"""Bytes of a packed file that are looked at, at most."""


@dataclass(frozen=True)
class Leak:
    """One secret, where it should not be."""

    secret: str
    form: str
    where: str

    def __str__(self) -> str:
        return f"{self.secret} ({self.form}) in {self.where}"


@dataclass(frozen=True)
class Canaries:
    """The secrets of an installation, by the name of what holds each."""

    values: Mapping[str, str]

    @classmethod
    def make(cls, given: Mapping[str, str] | None = None) -> Canaries:
        """One for every secret; ``given`` are those that a real server has to know."""
        made = {
            "HF_TOKEN": f"hf_{_core()}",
            "AWS_ACCESS_KEY_ID": f"AKIA{_core().upper()}",
            "AWS_SECRET_ACCESS_KEY": _core() + "/+x",
            "AWS_SESSION_TOKEN": _core() + "/+==",
            "FT_REGISTRY_TOKEN": f"registry-{_core()}",
            "DAGSTER_PG_PASSWORD": _core() + _SPECIAL,
            "WANDB_API_KEY": secrets.token_hex(20),
            "FT_SIGNING_KEY": _core(),
            "X-Amz-Signature": secrets.token_hex(32),
            "X-Amz-Security-Token": _core() + "/+==",
            "pull-secret": base64.b64encode(f"robot:{_core()}".encode()).decode(),
        }
        return cls({**made, **(given or {})})

    def environment(self, *names: str) -> dict[str, str]:
        """Those that are environment variables, as a process is given them."""
        return {name: self.values[name] for name in names}

    def presigned(self, url: str) -> str:
        """A URL with the parameters that make it a secret."""
        parameters = {
            name: self.values[name] for name in ("X-Amz-Signature", "X-Amz-Security-Token")
        }
        return f"{url}?{urllib.parse.urlencode(parameters)}"

    def leaks(self, *places: Iterable[Seen]) -> list[Leak]:
        """What is found, each secret once in each place."""
        forms = {name: forms_of(value) for name, value in self.values.items()}
        found: list[Leak] = []
        for place in places:
            for where, content in place:
                for part, unpacked in _unpacked(where, content):
                    found.extend(
                        Leak(name, form, part)
                        for name, those in forms.items()
                        for form, text in _first(those, unpacked)
                    )
        return found


def forms_of(value: str) -> dict[str, bytes]:
    """How a value can stand in a text: as it is, quoted, escaped, or encoded inside something."""
    content = value.encode()
    forms = {
        "plain": content,
        "repr": repr(value)[1:-1].encode(),
        "JSON": json.dumps(value)[1:-1].encode(),
        "JSON in JSON": json.dumps(json.dumps(value)[1:-1])[1:-1].encode(),
        "url-quoted": urllib.parse.quote(value, safe="").encode(),
        "url-quoted, with slashes": urllib.parse.quote(value).encode(),
        "form-quoted": urllib.parse.quote_plus(value).encode(),
        "hexadecimal": content.hex().encode(),
    }
    for offset in range(3):  # where it begins within the three bytes that become four letters
        forms[f"base64, {offset}"] = _inner_base64(content, offset)
        forms[f"base64 for URLs, {offset}"] = _inner_base64(content, offset, b"-_")
    return forms


def in_tree(folder: Path) -> Iterator[Seen]:
    """Every file below a folder; of a SQLite database each row of each table as well."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            yield str(file), content
            if content.startswith(b"SQLite format 3\0"):
                yield from in_sqlite(file)
        yield f"the name of {file}", file.name.encode()


def in_sqlite(file: Path) -> Iterator[Seen]:
    """Each row of each table: in the file a long value is spread over pages."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            name = table.decode()
            for number, row in enumerate(connection.execute(f'SELECT * FROM "{name}"')):
                for value in row:
                    content = value if isinstance(value, bytes) else str(value).encode()
                    yield f"row {number} of {name} in {file}", content
    finally:
        connection.close()


def in_postgres(url: str) -> Iterator[Seen]:
    """Each row of each table of a PostgreSQL database: runs, events, metadata, snapshots."""
    import psycopg2

    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT * FROM "{table}"')
                for number, row in enumerate(cursor):
                    for value in row:
                        content = bytes(value) if isinstance(value, memoryview) else value
                        if not isinstance(content, bytes):
                            content = str(content).encode()
                        yield f"row {number} of {table}", content
    finally:
        connection.close()


def in_bucket(client: Any, bucket: str) -> Iterator[Seen]:
    """Each object of a bucket: its name, its metadata and its bytes; and what is unfinished."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            where = f"s3://{bucket}/{entry['Key']}"
            answer = client.get_object(Bucket=bucket, Key=entry["Key"])
            yield where, answer["Body"].read()
            yield (
                f"{where}, its name and metadata",
                repr((entry["Key"], answer["Metadata"])).encode(),
            )


def in_values(where: str, *values: Any) -> Iterator[Seen]:
    """Anything that JSON can say: pod specs, answers of GraphQL, metadata."""
    for value in values:
        yield where, json.dumps(value, default=str).encode()


def in_graphql(url: str) -> Iterator[Seen]:
    """What a webserver of Dagster's tells anybody: its runs, their events and logs, the assets, the
    resources with their configuration, and the instance."""
    for name, query in GRAPHQL.items():
        answer = _ask(url, query)
        yield f"GraphQL {name}", json.dumps(answer).encode()
        if name == "runs":
            for run in answer["data"]["runsOrError"]["results"]:
                yield from _logs_of(url, run)


def _logs_of(url: str, run: Mapping[str, Any]) -> Iterator[Seen]:
    for event in run["eventConnection"]["events"]:
        if key := event.get("fileKey"):
            log_key = [run["runId"], "compute_logs", key]
            yield f"GraphQL log {key}", json.dumps(_ask(url, _LOGS, logKey=log_key)).encode()


def _ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    assert not answer.get("errors"), answer["errors"]
    return answer


_METADATA = """metadataEntries { label description __typename
  ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url }
  ... on PathMetadataEntry { path } ... on JsonMetadataEntry { jsonString }
  ... on MarkdownMetadataEntry { mdStr } }"""
GRAPHQL = {
    "instance": """{ version instance { id info runLauncher { name } runQueuingSupported
      daemonHealth { allDaemonStatuses {
        daemonType lastHeartbeatErrors { message stack } } } } }""",
    "runs": f"""{{ runsOrError {{ __typename ... on Runs {{ results {{ runId status jobName
      runConfigYaml tags {{ key value }} eventConnection {{ events {{ __typename
        ... on MessageEvent {{ message stepKey }}
        ... on LogsCapturedEvent {{ fileKey stepKeys externalUrl }}
        ... on ErrorEvent {{ error {{ message stack }} }}
        ... on DisplayableEvent {{ label description {_METADATA} }} }} }} }} }} }} }}""",
    "assets": f"""{{ assetNodes {{ assetKey {{ path }} description kinds opNames
      {_METADATA} assetMaterializations(limit: 5) {{ tags {{ key value }} {_METADATA} }}
      configField {{ configType {{ key recursiveConfigTypes {{ key description
        ... on CompositeConfigType {{ fields {{ name description defaultValueAsJson }} }} }} }} }}
      }} }}""",
    "resources": """{ repositoriesOrError { ... on RepositoryConnection { nodes { name
      displayMetadata { key value } location { name }
      allTopLevelResourceDetails { name description configuredValues { key value type }
        configFields { name description defaultValueAsJson } } } } } }""",
}
_LOGS = """query ($logKey: [String!]!) { capturedLogs(logKey: $logKey) { stdout stderr } }"""


def _core() -> str:
    return f"canary{secrets.token_hex(12)}"


def _inner_base64(content: bytes, offset: int, altchars: bytes = b"+/") -> bytes:
    """The letters that encode ``content`` alone, whatever stands before and after it."""
    encoded = base64.b64encode(b"\0" * offset + content, altchars)
    bits_before, bits = 8 * offset, 8 * (offset + len(content))
    return encoded[-(-bits_before // 6) : bits // 6]


def _first(forms: Mapping[str, bytes], content: bytes) -> Sequence[tuple[str, bytes]]:
    return next(([(form, text)] for form, text in forms.items() if text in content), [])


def _unpacked(where: str, content: bytes) -> Iterator[Seen]:
    """The content, and what it is packed from, where it is."""
    yield where, content
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(io.BytesIO(content)) as file:
            yield f"{where}, unpacked", file.read(_UNPACKED)
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    yield f"{name} in {where}", file.read(_UNPACKED)
    elif content[:2] in {b"\x78\x9c", b"\x78\xda"}:  # Dagster keeps its snapshots so
        yield f"{where}, unpacked", zlib.decompressobj().decompress(content, _UNPACKED)
