"""A row file is read by the places of its ids, so each line is seen to be one of ours."""

import numpy as np
import pytest

from ft_assets.data import row_blocks as module
from ft_assets.data.row_blocks import row_blocks
from resources.errors import UserError


def line(number: int, text: str = "text") -> bytes:
    return b'{"id":"%064x","text":"%b"}\n' % (number, text.encode())


GOOD = [line(number, "long " * number) for number in range(20)]
ID = b"%064x" % 10


@pytest.fixture(params=[200, 10_000], ids=["many blocks", "one block"])
def rows(tmp_path, monkeypatch, request):
    """Write lines to a row file, which is then read in blocks."""
    monkeypatch.setattr(module, "_BLOCK", request.param)

    def write(*lines: bytes):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b"".join(lines))
        return path

    return write


def test_ids_are_those_of_the_lines_in_order(rows):
    ids = [id_ for block in row_blocks(rows(*GOOD)) for id_ in block.ids]
    assert ids == [b"%064x" % number for number in range(20)]


def test_a_digest_is_the_first_half_of_the_id(rows):
    (block,) = row_blocks(rows(line((2**64 - 1) << 192 | 5 << 128 | 7)))
    assert block.digests.tolist() == [[2**64 - 1, 5]]


def test_chosen_lines_come_in_order_and_in_one_piece(rows):
    lines = []
    for block in row_blocks(rows(*GOOD)):
        chosen = np.array([int(id_, 16) % 3 > 0 for id_ in block.ids], np.bool_)
        lines.append(block.lines(chosen))
    assert b"".join(lines) == b"".join(row for n, row in enumerate(GOOD) if n % 3)


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD[10].replace(ID, ID[:-1] + b"A"),
        GOOD[10].replace(ID, b"  " + ID[2:]),
        GOOD[10].replace(ID, ID[:-1] + b"\xe9"),
        GOOD[10].replace(ID, ID[:-1] + b"g"),
        GOOD[10].replace(b'"id"', b'"di"'),
        GOOD[10].replace(b'","text"', b'"}"text"'),
        b'{"id":"' + ID + b'"\n',
        b"{}\n",
        b"\n",
    ],
    ids=["capital", "spaces", "no ASCII", "no digit", "key", "end", "id alone", "short", "empty"],
)
@pytest.mark.parametrize("place", [0, 10, 19])
def test_a_line_that_is_none_of_ours_is_named(rows, wrong, place):
    path = rows(*GOOD[:place], wrong, *GOOD[place + 1 :])
    with pytest.raises(UserError, match=rf"^rows\.jsonl, row {place + 1}: not a row that ft-asset"):
        list(row_blocks(path))


@pytest.mark.parametrize("short", [b"\n", b"{}\n", GOOD[1][:70] + b"\n"])
def test_a_short_line_at_the_very_end_of_a_block_is_named(tmp_path, monkeypatch, short):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD[1] + short)
    monkeypatch.setattr(module, "_BLOCK", path.stat().st_size)  # no byte behind it
    with pytest.raises(UserError, match=r"^rows\.jsonl, row 2: not a row that ft-assets wrote"):
        list(row_blocks(path))


def test_a_last_line_that_is_cut_short_is_an_error(rows):
    with pytest.raises(UserError, match=r"^rows\.jsonl: the last line is cut short"):
        list(row_blocks(rows(*GOOD, GOOD[3][:-1])))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no such row file"):
        list(row_blocks(tmp_path / "rows.jsonl"))
