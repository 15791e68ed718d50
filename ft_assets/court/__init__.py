"""The court: whether a candidate is better than its base model and than the champion.

``judge.py`` is what the checks and ``ft court`` call. Nothing here knows Dagster, a registry or a
model: the court reads the artifact of an evaluation and decides, the same again at any time.
"""

from ft_assets.court.judge import Side, judge, judge_sides
from ft_assets.court.verdict import CheckVerdict, Comparison, Overrule, Settings, Verdict

__all__ = [
    "CheckVerdict",
    "Comparison",
    "Overrule",
    "Settings",
    "Side",
    "Verdict",
    "judge",
    "judge_sides",
]
