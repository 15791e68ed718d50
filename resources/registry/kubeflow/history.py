"""Who was champion when, on a Model Registry server: the model's property ``ft_champions``.

It is written in the same PATCH as the champion, so that both change or neither. The newest changes
are kept, as JSON, because the server has no place for more. Of two changes at the same moment the
later PATCH stays, with its history. Does not belong here: changing the champion (``stages.py``).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from resources.errors import UserError
from resources.registry.port import ChampionChange

if TYPE_CHECKING:
    from resources.registry.kubeflow.records import ModelRecord
    from resources.registry.port import Act

HISTORY = "ft_champions"
_KEPT = 200


def history_of(model: ModelRecord) -> list[ChampionChange]:
    """The changes of a model's champion, oldest first.

    Raises:
        UserError: someone has edited the property so that it cannot be read.
    """
    text = model.properties.get(HISTORY, "[]")
    try:
        return [ChampionChange(**change) for change in cast("list[Any]", json.loads(str(text)))]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"model {model.name}: its property {HISTORY} is not as this adapter writes it: put it "
            "right in the registry, or remove it to begin a new history"
        ) from error


def with_change(model: ModelRecord, version: str, *, act: Act, by: str, why: str) -> str:
    """The property's value after one more change."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    change = ChampionChange(version=version, act=act, by=by, why=why, at=at)
    return json.dumps([asdict(kept) for kept in [*history_of(model), change][-_KEPT:]])
