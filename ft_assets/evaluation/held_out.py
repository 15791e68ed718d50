"""The held-out split as an lm-eval task.

lm-eval's own chat handling scores one answer after one prompt. Here a row is one request of the
type ``score_chat``, which :mod:`ft_assets.evaluation.scoring` answers with the score of every
assistant turn from one forward pass. The rows stay in their file until they are scored.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import RowError, normalize
from ft_assets.data.texts import said
from ft_assets.evaluation.plan import HELD_OUT
from ft_assets.evaluation.scores import RowScore, ratio
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lm_eval.api.task import Task

    from ft_assets.data.shapes import Row

REQUEST = "score_chat"
"""The request type, and so the name of the method that lm-eval calls on the model."""


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """One row of the held-out split."""

    row: int
    """Line in the file, counted from 1."""
    id: str | None
    content: Row
    """What stands in it, in any of the shapes."""

    @property
    def key(self) -> str:
        """Names the row in all evaluations: its id, or else the digest of what it says."""
        return row_id(self.content) if self.id is None else self.id


class HeldOutRows:
    """The rows of a held-out file, read one at a time; only their places are kept in memory.

    Args:
        path: the file.
        leave_out: ids of rows that are passed over.

    Raises:
        UserError: the file or a row of it is broken, or no row is left.
    """

    def __init__(self, path: Path, leave_out: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.left_out = 0
        """Rows that were passed over."""
        self._places = array("Q")  # per row, the byte where its line starts
        self._lines = array("Q")  # per row, the number of its line
        for place, line, text in _lines(path):
            if self._parse(line, text).key in leave_out:
                self.left_out += 1
                continue
            self._places.append(place)
            self._lines.append(line)
        if not self._places and self.left_out:
            raise UserError(
                f"{path}: each of the {self.left_out} rows is one that a model of this comparison "
                "was trained on: there is nothing to compare them on; hold other rows out"
            )
        if not self._places:
            raise UserError(f"{path}: the held-out split holds no rows")

    def __len__(self) -> int:
        """Rows of the file; blank lines do not count."""
        return len(self._places)

    def __getitem__(self, number: int) -> HeldOutRow:
        """Read row ``number``, counted from 0."""
        with self.path.open("rb") as file:
            file.seek(self._places[number])
            return self._parse(self._lines[number], file.readline())

    def digest(self, limit: int | None) -> str:
        """Of the ids and contents of the rows, or of the first ``limit`` of them."""
        hashed = hashlib.sha256()
        for number in range(len(self) if limit is None else min(limit, len(self))):
            row = self[number]
            hashed.update(f"{row.key} {row_id(row.content)}\n".encode())
        return hashed.hexdigest()

    def where(self, row: HeldOutRow) -> str:
        """The row as messages name it."""
        return _where(self.path, row.row, row.id)

    def _parse(self, line: int, text: bytes) -> HeldOutRow:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UserError(f"{self.path}, row {line}: broken JSON ({error.msg})") from error
        if not isinstance(value, dict):
            raise UserError(f"{self.path}, row {line}: not a JSON object but {str(value)[:40]!r}")
        name = value.get("id")
        try:
            content = normalize(value)
        except RowError as error:
            raise UserError(f"{_where(self.path, line, name)}: {error}") from error
        return HeldOutRow(line, None if name is None else str(name), content)


def read_left_out(path: Path) -> frozenset[str]:
    """The row ids in a file with one per line.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read the rows to leave out, {path}: {error.strerror}") from error
    return frozenset(line for line in lines if line)


def held_out_task(rows: HeldOutRows) -> Task:
    """The lm-eval task over ``rows``. After an evaluation :func:`row_scores` reads its scores."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from lm_eval.config.task import TaskConfig
    from lm_eval.filters import build_filter_ensemble

    class HeldOutChat(cast("Any", Task)):
        """Documents are row numbers; the row is read when the request is answered."""

        VERSION = 1
        OUTPUT_TYPE = REQUEST

        def __init__(self) -> None:
            # Not the parent's: that one loads a dataset.
            self._config = TaskConfig(
                task=HELD_OUT, output_type=cast("Any", REQUEST), num_fewshot=0
            )
            self._filters = [build_filter_ensemble("none", [("take_first", None)])]
            self._instances = None
            self.fewshot_rnd = None

        def has_training_docs(self) -> bool:
            return False

        def has_validation_docs(self) -> bool:
            return False

        def has_test_docs(self) -> bool:
            return True

        def test_docs(self) -> list[dict[str, int]]:
            return [{"number": number} for number in range(len(rows))]

        def doc_to_text(self, doc: Mapping[str, int]) -> str:
            return canonical_bytes(rows[doc["number"]].content).decode()

        def doc_to_target(self, doc: Mapping[str, int]) -> str:
            words = said(rows[doc["number"]].content)
            return (words.answers or words.all)[-1]

        def fewshot_context(self, *_: Any, **__: Any) -> str:
            return ""

        def construct_requests(self, doc: dict[str, int], **request: Any) -> list[Instance]:
            number = doc["number"]
            instance = Instance(
                request_type=cast("Any", REQUEST),
                doc=doc,
                arguments=(f"{rows.path}#{number}", rows, number),  # lm-eval hashes the first
                idx=0,
                metadata=request["metadata"],
            )
            return [instance]

        def process_results(
            self, _doc: Mapping[str, int], results: list[RowScore]
        ) -> dict[str, tuple[float, int]]:
            (score,) = results
            if score.skipped is not None:
                return {}
            return {
                "loss": (score.nll, score.tokens),
                "token_accuracy": (score.correct, score.tokens),
            }

        def aggregation(self) -> dict[str, Callable[[list[tuple[float, float]]], float | None]]:
            return dict.fromkeys(self.higher_is_better(), _aggregate)

        def higher_is_better(self) -> dict[str, bool]:
            return {"loss": False, "token_accuracy": True}

    return HeldOutChat()


def row_scores(task: Task) -> list[RowScore]:
    """The scores of the last evaluation of a :func:`held_out_task`, in the order of the rows."""
    return [instance.resps[0] for instance in task.instances]


def _aggregate(pairs: list[tuple[float, float]]) -> float | None:
    return ratio(pairs).value


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Start in bytes, number from 1, and text of each line that is not blank."""
    place = 0
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.isspace():
                    yield place, number, text
                place += len(text)
    except OSError as error:
        raise UserError(f"cannot read the held-out split {path}: {error.strerror}") from error


def _where(path: Path, line: int, name: object) -> str:
    return f"{path}, row {line}" + ("" if name is None else f" (id {str(name)[:80]!r})")
