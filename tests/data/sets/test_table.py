import pytest

from lowdose.data.sets.decide import Label
from lowdose.data.sets.table import labels_of, read_table
from lowdose.errors import ConfigError


def table(tmp_path, text, column="specimen", split_column=""):
    path = tmp_path / "table.csv"
    path.write_text(text, "utf-8")
    return read_table(path, column=column, split_column=split_column)


def test_a_table_gives_labels_by_file(tmp_path):
    found = table(tmp_path, "\ufeffspecimen,file,split\ngold,d/a.mrc,val\n", split_column="split")
    assert found == {"d/a.mrc": Label("gold", "val")}


def test_a_path_goes_before_a_bare_name():
    rows = {"a.mrc": Label("any"), "d/a.mrc": Label("this")}
    assert labels_of(["d/a.mrc", "e/a.mrc", "b.mrc"], rows) == {
        "d/a.mrc": Label("this"),
        "e/a.mrc": Label("any"),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,specimen\na,b\n", "has no column 'file'; its columns are name, specimen"),
        ("file,sample\na,b\n", "has no column 'specimen'"),
        ("", "its columns are nothing"),
        ("file,specimen\na,b\na,c\n", "row 3 says otherwise of a than before"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        table(tmp_path, text)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="row 2 has the split 'validation'; expected train, val"):
        table(tmp_path, "file,split\na,validation\n", "", "split")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none.csv: cannot be read as a table"):
        read_table(tmp_path / "none.csv", column="specimen", split_column="")
