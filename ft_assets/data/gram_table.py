"""The n-grams of many questions as one table, and which questions many rows could hold.

Belongs here: the search that leaves few pairs of row and question out of millions. The last word
on a pair is :meth:`ft_assets.data.question_probes.Probe.containment`'s.

Memory: some 30 bytes per own word of a question.
"""

# numpy's types are complete only where dtypes are known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ft_assets.data.question_probes import own_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ft_assets.data.question_probes import Flags, Ids, Probe

    Numbered = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GramTable:
    """The own n-grams of all probes of one n, sorted, and where in the probes' texts they are."""

    n: int
    hashes: Ids
    first: Numbered
    """Per hash where its entries in the two arrays below start; one more at the end."""
    probes: Numbered
    words: Numbered
    """Where the n-gram starts, in the texts of all probes in one piece."""
    own: Flags
    """Per word of these texts, whether it is its document's own."""
    needed: NDArray[np.float64]
    """Per probe, how many own words a row must hold."""
    maybe: Flags = field(repr=False)
    """Per low bits of a hash, whether any hash has them: most n-grams of a row end here."""

    @classmethod
    def of(cls, n: int, probes: Sequence[Probe]) -> GramTable:
        """The table of those probes that go by n-grams; at least one does."""
        mine = [(number, probe) for number, probe in enumerate(probes) if probe.n == n]
        windows = [own_windows(probe) for _, probe in mine]
        lengths = [len(probe.own) for _, probe in mine]
        offsets = np.cumsum([0, *lengths[:-1]])
        every = np.concatenate(
            [probe.grams[places] for (_, probe), places in zip(mine, windows, strict=True)]
        )
        order = np.argsort(every, kind="stable")
        hashes, first = np.unique(every[order], return_index=True)
        owners = np.repeat([number for number, _ in mine], [len(places) for places in windows])
        words = np.concatenate(
            [places + offset for places, offset in zip(windows, offsets, strict=True)]
        )
        needed = np.zeros(len(probes))
        for number, probe in mine:
            needed[number] = probe.own_share * probe.own.sum()
        maybe = np.zeros(1 << min(24, len(hashes).bit_length() + 4), np.bool_)
        maybe[hashes & np.uint64(len(maybe) - 1)] = True
        return cls(
            n,
            hashes,
            np.append(first, len(every)),
            owners[order],
            words[order],
            np.concatenate([probe.own for _, probe in mine]),
            needed,
            maybe,
        )

    def candidates(self, hashes: Ids, starts: Numbered) -> Iterator[tuple[int, int]]:
        """Pairs of row and probe where the whole row holds enough of the probe's own words.

        Args:
            hashes: of all n-grams of all rows, one row after the other.
            starts: where each row starts in ``hashes``.
        """
        rows, entries = self._entries(hashes, starts)
        pairs, of_pair = np.unique(
            rows * len(self.needed) + self.probes[entries], return_inverse=True
        )
        needed = self.needed[pairs % len(self.needed)] - 1e-9
        # First the cheap bound: k n-grams cover at most k times n words.
        enough = (np.bincount(of_pair, minlength=len(pairs)) * self.n >= needed)[of_pair]
        words = self.words[entries[enough]][:, None] + np.arange(self.n)
        held = np.unique((of_pair[enough] * len(self.own))[:, None] + words)
        of_pair, words = np.divmod(held, len(self.own))
        own = np.bincount(of_pair, weights=self.own[words], minlength=len(pairs))
        rows, probes = np.divmod(pairs[own >= needed], len(self.needed))
        yield from zip(rows.tolist(), probes.tolist(), strict=True)

    def _entries(self, hashes: Ids, starts: Numbered) -> tuple[Numbered, Numbered]:
        """The rows' numbers and the entries here of all n-grams that rows and probes share."""
        places = np.flatnonzero(self.maybe[hashes & np.uint64(len(self.maybe) - 1)])
        grams = np.searchsorted(self.hashes, hashes[places])
        grams[grams == len(self.hashes)] = 0
        known = self.hashes[grams] == hashes[places]
        rows = np.searchsorted(starts, places[known], side="right") - 1
        rows, grams = np.divmod(np.unique(rows * len(self.hashes) + grams[known]), len(self.hashes))
        counts = self.first[grams + 1] - self.first[grams]
        ends = np.cumsum(counts)
        within = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
        return np.repeat(rows, counts), np.repeat(self.first[grams], counts) + within
