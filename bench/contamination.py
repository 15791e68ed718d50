"""How well contaminated rows are told from clean ones, and how fast.

Documents of three tasks are made from half of the repository's example questions: short questions,
descriptions with choices, and long passages. Rows are planted that repeat a document in one of
several ways, beside clean ones that are as near as clean rows get; then the real ``decontaminate``
runs over all of them. The words of an identifier are never the changed ones: that is another
question.

``--tune`` tries n-gram sizes and thresholds on the tuning seeds, which the report never uses.
Prints one JSON object on its last line: precision, recall per kind of planting, false positives
per kind of clean row, over all seeds, and rows per second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ft_assets.data import question_probes
from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.contamination import CONTAMINATED_FILE, decontaminate
from ft_assets.data.question_probes import THRESHOLD
from ft_assets.data.row_files import row_line
from ft_assets.data.shapes import Chat, Message, Text
from ft_assets.data.task_overlap import TaskDocument

EXAMPLES = Path(__file__).parent.parent / "examples" / "python-docs"
TUNING_SEEDS = (1, 2, 3)
REPORT_SEEDS = (101, 102, 103, 104, 105)
SIZES = {
    "8": ((0, 8),),
    "8,5": ((32, 8), (0, 5)),
    "8,5,3": ((32, 8), (16, 5), (0, 3)),
    "5,3": ((16, 5), (0, 3)),
    "3": ((0, 3),),
}
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INSTRUCTION = (
    "Read the description of a part of Python's standard library with care and choose the name of "
    "what it describes; there is exactly one right choice."
)


class Pair(NamedTuple):
    """One of the example rows."""

    question: str
    answer: str

    @property
    def name(self) -> str:
        return self.question.split("`")[1]

    @property
    def module(self) -> str:
        return self.name.split(".")[0]


class Planted(NamedTuple):
    kind: str
    contaminated: bool
    row: Chat | Text


def examples() -> list[Pair]:
    """The example rows, one per name."""
    pairs: dict[str, Pair] = {}
    for path in sorted(EXAMPLES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            question, answer = (m["content"] for m in json.loads(line)["messages"])
            pair = Pair(question, answer)
            pairs.setdefault(pair.name, pair)
    return list(pairs.values())


def documents(pairs: list[Pair], rng: random.Random) -> list[TaskDocument]:
    """Short questions from a third of the pairs, descriptions and passages from the others."""
    third = len(pairs) // 3
    short, described, told = pairs[:third], pairs[third : 2 * third], pairs[2 * third :]
    made = [
        TaskDocument(
            task="short", doc_id=n, question=f"Question: {p.question}\nAnswer:", answers=[p.answer]
        )
        for n, p in enumerate(short)
    ]
    for n, pair in enumerate(described):
        names = [pair.name, *(p.name for p in rng.sample(described, 3) if p != pair)]
        rng.shuffle(names)
        options = "\n".join(f"{label}. {name}" for label, name in zip("ABCD", names, strict=False))
        question = f"{INSTRUCTION}\nDescription: {pair.answer}\n{options}\nAnswer:"
        made.append(TaskDocument("described", n, question, [pair.name], names))
    for n in range(0, len(told) - 3, 4):
        group = told[n : n + 4]
        passage = " ".join(f"{p.name}: {p.answer}" for p in group)
        question = f"Passage: {passage}\nQuestion: {group[0].question}\nAnswer:"
        made.append(TaskDocument("told", n // 4, question, [group[0].answer]))
    return made


def asked(document: TaskDocument) -> str:
    """A question without its template and choices, as other collections hold it."""
    text = document.question.removesuffix("\nAnswer:")
    if document.task == "described":
        return text.removeprefix(f"{INSTRUCTION}\nDescription: ").split("\nA. ")[0]
    return text.removeprefix("Question: ").removeprefix("Passage: ")


def turn(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


def one_word_in_ten(text: str, rng: random.Random, vocabulary: list[str]) -> str:
    """At least one word becomes another one; identifiers stay."""
    words = text.split(" ")
    plain = [n for n, word in enumerate(words) if word.isalpha()]
    for place in rng.sample(plain, min(len(plain), max(1, len(words) // 10))):
        words[place] = rng.choice(vocabulary)
    return " ".join(words)


def other_marks(text: str, rng: random.Random) -> str:
    """Other case, punctuation and white space."""
    text = text.upper() if rng.random() < 0.5 else text.title()
    for mark, other in ((".", " . "), (",", " -"), ("?", ""), ("`", '"'), (" ", "  ")):
        text = text.replace(mark, other)
    return text


def planted(
    held: list[TaskDocument], clean: list[Pair], rng: random.Random, each: int
) -> list[Planted]:
    """Per kind ``each`` rows that repeat a document."""
    vocabulary = sorted({w for p in clean for w in p.answer.split() if w.isalpha()})

    def talk(turns: int) -> list[Message]:
        return [m for p in rng.sample(clean, turns) for m in turn(p.question, p.answer)]

    rows: list[Planted] = []
    for task in ("short", "described", "told"):
        of_task = [document for document in held if document.task == task]
        for _ in range(each):
            picks = iter(rng.sample(of_task, 8))
            answer = rng.choice(clean).answer

            def add(kind: str, row: Chat | Text, task: str = task) -> None:
                rows.append(Planted(f"{kind} ({task})", True, row))

            add("verbatim", Chat(turn(asked(next(picks)), answer)))
            add("with its template", Chat(turn(next(picks).question, answer)))
            add("case and punctuation", Chat(turn(other_marks(asked(next(picks)), rng), answer)))
            edited = one_word_in_ten(asked(next(picks)), rng, vocabulary)
            add("one word in ten changed", Chat(turn(edited, answer)))
            pick = next(picks)
            long = [*talk(5), *turn(f"And now: {asked(pick)} Thanks.", answer), *talk(5)]
            add("inside a long conversation", Chat(long))
            pick = next(picks)
            add("with the answer", Chat(turn(asked(pick), pick.answers[0])))
            pick = next(picks)
            around = [p.answer for p in rng.sample(clean, 6)]
            text = " ".join([*around[:3], asked(pick), pick.answers[0], *around[3:]])
            add("inside raw text", Text(text))
    return rows


def clean_rows(
    held: list[TaskDocument], clean: list[Pair], rng: random.Random, each: int
) -> list[Planted]:
    """Per kind ``each`` rows that repeat no document but look like it."""
    short = [document for document in held if document.task == "short"]
    described = [document for document in held if document.task == "described"]
    told = [document for document in held if document.task == "told"]
    modules = {asked(document).split("`")[1].split(".")[0] for document in short}
    same_module = [pair for pair in clean if pair.module in modules]
    rows: list[Planted] = []

    def add(kind: str, row: Chat | Text) -> None:
        rows.append(Planted(kind, False, row))

    for _ in range(each):
        pair, other = rng.sample(clean, 2)
        add("another question", Chat(turn(pair.question, pair.answer)))
        near = rng.choice(same_module)
        add("same module and template", Chat(turn(near.question, near.answer)))
        templated = f"{INSTRUCTION}\nDescription: {pair.answer}\nA. {pair.name}\nAnswer:"
        add("same instruction", Chat(turn(templated, pair.name)))
        passage = " ".join(f"{p.name}: {p.answer}" for p in rng.sample(clean, 4))
        framed = f"Passage: {passage}\nQuestion: {pair.question}\nAnswer:"
        add("same frame, other passage", Chat(turn(framed, pair.answer)))
        add("same answer, other question", Chat(turn(pair.question, rng.choice(short).answers[0])))
        name = rng.choice(described).answers[0]
        add("names the right choice", Chat(turn(f"Where is `{name}` explained?", other.answer)))
        mixed = asked(rng.choice(told)).split()
        rng.shuffle(mixed)
        add("same words, other order", Text(" ".join(mixed)))
        sentence = asked(rng.choice(told)).split()[:8]
        add("a quarter of a passage", Text(" ".join([*sentence, pair.answer, other.answer])))
        long = [m for p in rng.sample(clean, 10) for m in turn(p.question, p.answer)]
        add("long conversation", Chat(long))
    return rows


class Material(NamedTuple):
    """One planted set, on disk."""

    rows: list[Planted]
    train: Path
    documents: Path


def material(seed: int, each: int, folder: Path) -> Material:
    rng = random.Random(seed)
    pairs = examples()
    rng.shuffle(pairs)
    half = len(pairs) // 2
    held = documents(pairs[:half], rng)
    answers = {pair.answer for pair in pairs[:half]}  # some names share their docstring
    clean = [pair for pair in pairs[half:] if pair.answer not in answers]
    rows = planted(held, clean, rng, each) + clean_rows(held, clean, rng, each)
    rng.shuffle(rows)
    folder.mkdir()
    written = folder / "documents.jsonl"
    written.write_bytes(b"".join(document.line() for document in held))
    train = folder / "train.jsonl"
    train.write_bytes(b"".join(line(planted.row) for planted in rows))
    return Material(rows, train, written)


def line(row: Chat | Text) -> bytes:
    return row_line(row_id(row), canonical_bytes(row))


class Counts(NamedTuple):
    rows: Counter[str]
    found: Counter[str]
    contaminated: set[str]

    @property
    def precision(self) -> float:
        right = sum(self.found[kind] for kind in self.contaminated)
        return right / max(1, self.found.total())

    @property
    def recall(self) -> float:
        right = sum(self.found[kind] for kind in self.contaminated)
        return right / sum(self.rows[kind] for kind in self.contaminated)

    def shares(self, *, contaminated: bool) -> dict[str, float]:
        kinds = sorted(k for k in self.rows if (k in self.contaminated) == contaminated)
        return {kind: round(self.found[kind] / self.rows[kind], 4) for kind in kinds}


def count(sets: list[Material], threshold: float) -> Counts:
    counts = Counts(Counter(), Counter(), set())
    for one in sets:
        out = one.train.with_name("kept.jsonl")
        decontaminate(
            one.train, [one.documents], out, threshold=threshold, on_contamination="report"
        )
        listed = out.with_name(CONTAMINATED_FILE).read_text().splitlines()
        found = {json.loads(entry)["row"] for entry in listed}
        for number, planted in enumerate(one.rows, 1):
            counts.rows[planted.kind] += 1
            counts.found[planted.kind] += number in found
            if planted.contaminated:
                counts.contaminated.add(planted.kind)
    return counts


def tune(sets: list[Material]) -> dict[str, dict[str, list[float]]]:
    """Precision and recall per table of sizes and threshold."""
    table: dict[str, dict[str, list[float]]] = {}
    for name, sizes in SIZES.items():
        question_probes.SIZES = sizes
        for threshold in THRESHOLDS:
            counts = count(sets, threshold)
            figures = [round(counts.precision, 4), round(counts.recall, 4)]
            table.setdefault(name, {})[str(threshold)] = figures
            print(f"n {name:6} threshold {threshold}: precision, recall {figures}")
    return table


def rows_per_second(one: Material, rows: int) -> float:
    """Of the whole call, reading and writing included, one row in a hundred planted; best of 3."""
    clean = [line(each.row) for each in one.rows if not each.contaminated]
    repeating = [line(each.row) for each in one.rows if each.contaminated]
    long = one.train.with_name("long.jsonl")
    with long.open("wb") as file:
        for number in range(rows):
            some = clean if number % 100 else repeating
            file.write(some[number % len(some)])
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        report = decontaminate(long, [one.documents], long.with_name("kept.jsonl"))
        best = max(best, report.rows / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--each", type=int, default=40, help="rows per kind and seed")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the speed measurement")
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    arguments = parser.parse_args()
    seeds = TUNING_SEEDS if arguments.tune else REPORT_SEEDS
    with tempfile.TemporaryDirectory() as folder:
        sets = [material(seed, arguments.each, Path(folder) / str(seed)) for seed in seeds]
        if arguments.tune:
            print(json.dumps({"seeds": seeds, "precision_and_recall": tune(sets)}))
            return
        counts = count(sets, arguments.threshold)
        result = {
            "precision": round(counts.precision, 4),
            "recall": round(counts.recall, 4),
            "recall_per_kind": counts.shares(contaminated=True),
            "false_positives_per_kind": counts.shares(contaminated=False),
            "rows_per_second": round(rows_per_second(sets[0], arguments.rows)),
            "threshold": arguments.threshold,
            "rows": counts.rows.total(),
            "seeds": seeds,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
