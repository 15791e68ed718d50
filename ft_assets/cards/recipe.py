"""How a model was trained, and on what: tables of parameters and of the machine.

Belongs here: every effective parameter, as strangers may read it. Secrets are names in the
configuration, and paths of a machine mean nothing elsewhere: a card shows neither.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ft_assets.cards.markdown import code, number, table, text
from ft_assets.cards.places import is_local, public

if TYPE_CHECKING:
    from collections.abc import Mapping

_URIS = ("uri", "_uri")


def config_table(config: Mapping[str, Any]) -> str:
    """A configuration block; empty where there is none."""
    rows = [(code(name), code(_value(name, config[name]))) for name in sorted(config)]
    return table(("parameter", "value"), rows) if rows else ""


def recipe_tables(plan: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The training block with every default filled in, and what else the backend received."""
    handed: Mapping[str, Any] = plan["parameters"]
    further = {
        name: value for name, value in handed.items() if name not in config or config[name] != value
    }
    mask = {f"mask.{name}": value for name, value in plan["mask"].items()}
    parts = [
        f"Algorithm {code(plan['algorithm'])} on backend {code(plan['backend'])}; the checkpoint "
        f"that was kept: {code(plan['checkpoint_choice'])}.",
        config_table({**config, **mask}),
    ]
    if further:
        parts += [
            f"What the backend {text(plan['backend'])} received under another name or with "
            f"another value:",
            config_table(further),
        ]
    return "\n\n".join(part for part in parts if part)


def training_table(outcome: Mapping[str, Any]) -> str:
    """What the training did: steps, tokens, losses, time and memory."""
    hours = float(outcome["train_seconds"]) / 3600
    figures: dict[str, Any] = {
        "optimizer steps": outcome["steps"],
        "epochs": outcome["epochs"],
        "rows trained on": outcome["rows"],
        "rows left out, longer than the sequence length": outcome["rows_too_long"],
        "rows left out, nothing in them to train on": outcome["rows_untrained"],
        "raw texts cut at the sequence length": outcome["rows_cut"],
        "tokens processed, over all epochs": outcome["tokens"],
        "tokens trained on": outcome["trained_tokens"],
        "first loss (nats per trained token)": outcome["first_loss"],
        "last loss (nats per trained token)": outcome["last_loss"],
        "training time (hours)": round(hours, 4),
        "tokens per second": outcome["tokens_per_second"],
        "peak memory (MiB)": outcome["peak_memory_mib"],
    }
    rows = [(what, number(value)) for what, value in figures.items() if value is not None]
    return table(("what", "value"), rows)


def machine_table(
    outcome: Mapping[str, Any], provenance: Mapping[str, Any], further: Mapping[str, Any]
) -> str:
    """What was decided at run time, the software, and what else is known of the machine."""
    facts: dict[str, Any] = {
        **outcome["settings"],
        "python": provenance.get("python"),
        "platform": provenance.get("platform"),
        **_machine(provenance.get("builder", {})),
        **{f"package {name}": value for name, value in provenance.get("packages", {}).items()},
        **further,
    }
    rows = [
        (text(name), text(_value(name, value)))
        for name, value in facts.items()
        if value is not None
    ]
    return table(("what", "value"), rows)


def _machine(builder: Mapping[str, Any]) -> dict[str, Any]:
    """Processor and GPUs of the step that trained; nothing in a record of an earlier release."""
    named = {"processor": builder.get("processor"), "GPUs": ", ".join(builder.get("gpus", ()))}
    return {name: value for name, value in named.items() if value}


def _value(name: str, value: Any) -> str:
    """A parameter's value on one line; of variables of the environment the names alone."""
    if name == "env" and isinstance(value, dict):
        return ", ".join(f"{key} (set)" for key in sorted(map(str, value))) or "{}"  # pyright: ignore
    if isinstance(value, str):
        return public(value) if is_local(value) or name.endswith(_URIS) else value or '""'
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
