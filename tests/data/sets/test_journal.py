import pytest

from lowdose.data.sets.journal import Journal
from lowdose.errors import MalformedFileError, OutputError

ROWS = [{"a": 1}, {"name": "µ\n"}, {}]


def test_rows_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    for row in ROWS:
        journal.add(row)
    assert list(Journal(tmp_path / "j.jsonl").rows()) == ROWS


def test_a_line_cut_anywhere_is_as_never_written(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.add(ROWS[0])
    whole = path.stat().st_size
    journal.add(ROWS[1])
    content = path.read_bytes()
    for length in range(whole, len(content)):
        path.write_bytes(content[:length])
        again = Journal(path)
        again.add(ROWS[2])
        assert list(again.rows()) == [ROWS[0], ROWS[2]]


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b"[" * 5000 + b"\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"{}\n" + line)
    with pytest.raises(MalformedFileError, match=r"j.jsonl: line 2 is damaged"):
        list(Journal(path).rows())


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"j.jsonl: cannot be written"):
        Journal(tmp_path / "absent" / "j.jsonl")
