"""What changed of what a model was made from and by, beside data and parameters: the base model,
the code, the image, the packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.comparing.behind import MODEL, RAW, REPORT, SPLIT
from ft_assets.comparing.change import Change, changes

if TYPE_CHECKING:
    from ft_assets.comparing.behind import Behind

_ASSETS = (RAW, SPLIT, MODEL, REPORT)
_PACKAGE = "package."


def base_model_changes(old: Behind, new: Behind) -> list[Change]:
    """Name, revision and digest of what the training started from."""
    facts = {
        name: (old.said(said), new.said(said))
        for name, said in {
            "name": "base_model",
            "revision": "base_model_revision",
            "digest": "base_model_digest",
        }.items()
    }
    if MODEL in old.kept and MODEL in new.kept:  # else nobody knows
        facts["started from"] = (_started_from(old), _started_from(new))
    return changes(facts)


def _started_from(one: Behind) -> str | None:
    """The version that the training went on from (``start_from: champion``); None: the base."""
    plan: Any = one.kept[MODEL].metadata.get("plan") or {}
    start: Any = plan.get("start")
    return None if start is None else f"{start['model']} {start['version']}"


def code_changes(old: Behind, new: Behind) -> list[Change]:
    """Code versions of the assets, sources, image, machine and packages."""
    recorded = all(one.making(MODEL) is not None for one in (old, new))
    facts = [_code(one, recorded=recorded) for one in (old, new)]
    names = dict.fromkeys([*facts[0], *facts[1]])
    return changes({name: (facts[0].get(name), facts[1].get(name)) for name in names})


def _code(one: Behind, *, recorded: bool) -> dict[str, Any]:
    """The facts, from the record of the training, or else from the registry for both versions."""
    facts: dict[str, Any] = {}
    for asset in _ASSETS:
        making = one.making(asset)
        version = making.code_version if making else one.said(f"{asset}.code_version")
        facts[f"code version of {asset}"] = version
    training = one.making(MODEL)
    facts["backend"] = one.said("backend")
    facts["gpus"] = one.said("gpus")
    if training is None or not recorded:
        return {**facts, **_code_as_registered(one)}
    return {
        **facts,
        "code digest": training.code.digest,
        "git commit": training.code.commit,
        "image": training.builder.image,
        "python": training.python,
        "platform": training.platform,
        **{f"package {name}": version for name, version in training.packages.items()},
    }


def _code_as_registered(one: Behind) -> dict[str, Any]:
    packages = {
        f"package {name.removeprefix(_PACKAGE)}": version
        for name, version in one.version.properties.items()
        if name.startswith(_PACKAGE)
    }
    return {"image": one.said("image"), "platform": one.said("hardware"), **packages}
