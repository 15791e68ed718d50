"""What a Model Registry server keeps, and its rules, for tests: in memory, one request at a time.

The rules are those of the real server's tables and code: a model's name is unique; a version's name
is unique in its model, an artifact's in its version; external ids are unique among models and
versions together, and among artifacts; ids grow; a PATCH changes the fields it names, replaces all
custom properties when it names any, and clears none when it names an empty set; names never change.
Does not belong here: HTTP (``model_registry_server.py``).
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Entity = dict[str, Any]

_TEXT = {"name", "description", "externalId"}
_STATES = {"LIVE", "ARCHIVED"}
_ARTIFACT_STATES = {
    "UNKNOWN",
    "PENDING",
    "LIVE",
    "MARKED_FOR_DELETION",
    "DELETED",
    "ABANDONED",
    "REFERENCE",
}
_MODEL_ARTIFACT = {
    "uri",
    "modelFormatName",
    "modelFormatVersion",
    "storageKey",
    "storagePath",
    "serviceAccountName",
    "modelSourceKind",
    "modelSourceClass",
    "modelSourceGroup",
    "modelSourceId",
    "modelSourceName",
}
_VALUES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "MetadataBoolValue": ("bool_value", bool),
    "MetadataIntValue": ("int_value", str),
    "MetadataDoubleValue": ("double_value", (int, float)),
    "MetadataStringValue": ("string_value", str),
    "MetadataStructValue": ("struct_value", str),
    "MetadataProtoValue": ("proto_value", str),
}
_INT = re.compile(r"-?([1-9][0-9]{0,8}|0)")
_ID = re.compile(r"[1-9][0-9]{0,8}")
_SORTED_BY = {
    "CREATE_TIME": "createTimeSinceEpoch",
    "LAST_UPDATE_TIME": "lastUpdateTimeSinceEpoch",
    "ID": "id",
}


class RefusedError(Exception):
    """A request that the server refuses, with the status and the message of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Kind:
    """A kind of entity: its fields besides those that all have, and what is unique about it."""

    title: str
    text: frozenset[str]
    states: frozenset[str]
    first_state: str
    parent: str = ""


MODEL = Kind(
    "registered model",
    frozenset(_TEXT | {"owner", "readme", "maturity", "provider", "logo", "license"}),
    frozenset(_STATES),
    "LIVE",
)
VERSION = Kind(
    "model version",
    frozenset(_TEXT | {"author"}),
    frozenset(_STATES),
    "LIVE",
    parent="registeredModelId",
)
ARTIFACT = Kind(
    "model artifact",
    frozenset(_TEXT | _MODEL_ARTIFACT),
    frozenset(_ARTIFACT_STATES),
    "UNKNOWN",
    parent="_version",
)


@dataclass
class Store:
    """Models, versions and artifacts by id."""

    models: dict[int, Entity] = field(default_factory=dict[int, Entity])
    versions: dict[int, Entity] = field(default_factory=dict[int, Entity])
    artifacts: dict[int, Entity] = field(default_factory=dict[int, Entity])
    last_id: int = 0
    last_artifact_id: int = 0

    def create(self, kind: Kind, body: object, parent: int | None = None) -> Entity:
        """A new entity; 400 for a body that is none, 409 where a name or external id is taken."""
        entity = {"state": kind.first_state, **_checked(kind, body)}
        if kind.parent:
            entity[kind.parent] = str(parent) if parent is not None else ""
        if kind is not ARTIFACT and not entity.get("name"):
            raise RefusedError(400, f"{kind.title}: a name is required")
        self._refuse_taken(kind, entity, status=409)
        table = self._table(kind)
        if kind is ARTIFACT:
            self.last_artifact_id += 1
            number = self.last_artifact_id
            entity["artifactType"] = "model-artifact"
        else:
            self.last_id += 1
            number = self.last_id
        now = _now()
        entity |= {"id": str(number), "createTimeSinceEpoch": now, "lastUpdateTimeSinceEpoch": now}
        table[number] = entity
        return entity

    def update(self, kind: Kind, number: int, body: object) -> Entity:
        """Change the fields that the body names; 404 where there is no such entity."""
        entity = self.get(kind, number)
        change = _checked(kind, body)
        change.pop("name", None)
        if not change.get("customProperties"):
            change.pop("customProperties", None)
        self._refuse_taken(kind, change, status=400, own=number)
        entity |= {**change, "lastUpdateTimeSinceEpoch": _now()}
        return entity

    def get(self, kind: Kind, number: int) -> Entity:
        """An entity by its id; 404 where there is none."""
        entity = self._table(kind).get(number)
        if entity is None:
            raise RefusedError(404, f"no {kind.title} found for id {number}: not found")
        return entity

    def find(self, kind: Kind, **wanted: str | None) -> Entity:
        """The one entity with these fields; 404 where there is none."""
        given = {name: value for name, value in wanted.items() if value is not None}
        for entity in self._table(kind).values():
            if all(entity.get(name) == value for name, value in given.items()):
                return entity
        raise RefusedError(404, f"no {kind.title}s found for {given}: not found")

    def children(self, kind: Kind, parent: int) -> list[Entity]:
        """The entities of a kind under one parent."""
        return [e for e in self._table(kind).values() if e[kind.parent] == str(parent)]

    def _table(self, kind: Kind) -> dict[int, Entity]:
        return {MODEL: self.models, VERSION: self.versions, ARTIFACT: self.artifacts}[kind]

    def _refuse_taken(self, kind: Kind, entity: Entity, status: int, own: int = 0) -> None:
        name, external_id = entity.get("name"), entity.get("externalId")
        if name:
            for other in self._table(kind).values():
                same_parent = not kind.parent or other[kind.parent] == entity[kind.parent]
                if same_parent and other.get("name") == name:
                    raise RefusedError(status, f"{kind.title} with name {name} already exists")
        tables = [self.artifacts] if kind is ARTIFACT else [self.models, self.versions]
        for table in tables:
            for number, other in table.items():
                itself = table is self._table(kind) and number == own
                same = external_id is not None and other.get("externalId") == external_id
                if same and not itself:
                    raise RefusedError(status, f"external id {external_id} already exists")


def shown(entity: Entity) -> Entity:
    """An entity as an answer has it."""
    return {name: value for name, value in entity.items() if not name.startswith("_")}


def page(entities: Iterable[Entity], params: dict[str, str], longest_page: int) -> Entity:
    """One page of a list, after the token's entity, in the order that is asked for."""
    size = params.get("pageSize", "20")
    if not _ID.fullmatch(size):
        raise RefusedError(400, f"invalid pageSize {size}")
    if params.get("filterQuery"):
        raise RefusedError(400, "this stand-in knows no filterQuery")
    order, direction = params.get("orderBy", "ID"), params.get("sortOrder", "ASC")
    if order not in _SORTED_BY or direction not in ("ASC", "DESC"):
        raise RefusedError(400, f"invalid order {order} {direction}")
    key = _SORTED_BY[order]
    ordered = sorted(
        entities, key=lambda e: (int(e[key]), int(e["id"])), reverse=direction == "DESC"
    )
    numbers = [entity["id"] for entity in ordered]
    last = _decoded(params.get("nextPageToken", ""))
    start = numbers.index(last) + 1 if last in numbers else 0
    length = min(int(size), longest_page)
    items = ordered[start : start + length]
    more = start + length < len(ordered)
    token = base64.urlsafe_b64encode(items[-1]["id"].encode()).decode() if more else ""
    return {
        "items": [shown(item) for item in items],
        "nextPageToken": token,
        "pageSize": int(size),
        "size": len(items),
    }


def number_of(text: object) -> int:
    """An id; 400 for what is none."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise RefusedError(400, f"invalid id {text}")
    return int(text)


def _checked(kind: Kind, body: object) -> Entity:
    """The fields of a body that this kind has."""
    if not isinstance(body, dict):
        raise RefusedError(400, "the body is no object")
    if kind is ARTIFACT and body.get("artifactType", "model-artifact") != "model-artifact":
        raise RefusedError(400, "this stand-in keeps model artifacts only")
    entity: Entity = {}
    for name in kind.text & body.keys():
        if not isinstance(body[name], str):
            raise RefusedError(400, f"{name} is no text")
        entity[name] = body[name]
    if "state" in body:
        if body["state"] not in kind.states:
            raise RefusedError(400, f"invalid state {body['state']}")
        entity["state"] = body["state"]
    if "customProperties" in body:
        entity["customProperties"] = _checked_properties(body["customProperties"])
    return entity


def _checked_properties(properties: object) -> Entity:
    if not isinstance(properties, dict):
        raise RefusedError(400, "customProperties is no object")
    for name, value in properties.items():
        field_name, types = _VALUES.get(
            value.get("metadataType") if isinstance(value, dict) else "", ("", ())
        )
        if not isinstance(value, dict) or set(value) - {"type"} != {"metadataType", field_name}:
            raise RefusedError(400, f"customProperties: {name} is no metadata value")
        given = value[field_name]
        if not isinstance(given, types) or (isinstance(given, bool) and types is not bool):
            raise RefusedError(400, f"customProperties: {name} is of another type")
        if field_name == "int_value" and not _INT.fullmatch(given):
            raise RefusedError(400, f"customProperties: {name} has more than nine digits")
    return properties


def _decoded(token: str) -> str:
    """The id in a page token; like the real server, a token that is none means the first page."""
    try:
        return base64.urlsafe_b64decode(token.encode("ascii", "ignore")).decode("ascii")
    except ValueError:
        return ""


def _now() -> str:
    return str(time.time_ns() // 1_000_000)
