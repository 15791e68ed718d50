"""What cannot fit is refused before it is fetched."""

import pytest

from resources.errors import UserError
from resources.free_room import refuse_what_does_not_fit


def test_more_than_is_free_is_refused_with_both_numbers_and_a_remedy(tmp_path):
    refuse_what_does_not_fit("s3://bucket/rows.jsonl", 1000, tmp_path)
    refuse_what_does_not_fit("s3://bucket/rows.jsonl", 1000, tmp_path / "to" / "be" / "made")
    with pytest.raises(UserError) as error:
        refuse_what_does_not_fit("s3://bucket/rows.jsonl", 10**18, tmp_path)
    said = str(error.value)
    assert said.startswith("s3://bucket/rows.jsonl: its 1,000,000,000,000.0 MB do not fit into")
    assert f"{tmp_path}, which has" in said
    assert "set FT_HOME" in said
