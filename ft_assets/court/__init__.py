"""The court: whether a candidate is better than its base model and than the champion.

``judge.py`` is what the evaluation and ``ft court`` call; it is imported where it is called, for it
loads numpy, which the definitions do without. Nothing here knows Dagster, a registry or a
model: the court reads the artifact of an evaluation and decides, the same again at any time.
"""

from ft_assets.court.verdict import CheckVerdict, Comparison, Overrule, Settings, Verdict

__all__ = [
    "CheckVerdict",
    "Comparison",
    "Overrule",
    "Settings",
    "Verdict",
]
