"""Two registered versions side by side: what changed, from the records behind them.

Nothing is run and nothing is judged here (``ft_assets.court`` judges). ``behind.py`` finds the
records, one file per subject compares them, ``comparison.py`` puts the answers together.
"""

from ft_assets.comparing.behind import Behind, behind
from ft_assets.comparing.comparison import VersionComparison, compare_versions
from ft_assets.comparing.table import table_rows

__all__ = ["Behind", "VersionComparison", "behind", "compare_versions", "table_rows"]
