"""Names of any spelling go into a CSV file and come back; no spreadsheet runs one."""

import csv

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmeta.data.cells import read_table, write_table

NAMES = ["=1+1", "+1", "-7", "@x", "\tx", "'=x", "''=x", "'x", "007", "NA", ""]
NAMES += ["12", "1e3", "a,b", 'say "x"', "a\nb", "ann"]
RUN = ("=", "+", "-", "@", "\t", "\r")


def round_trip(path, names):
    table = pd.DataFrame({"client_id": names, "value": [-1.5] * len(names)})
    write_table(table, path)
    return read_table(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_and_is_no_formula(tmp_path, name):
    path = tmp_path / "a.csv"
    found = round_trip(path, [name, "b"])
    assert found["client_id"].tolist() == [name, "b"]
    assert found["value"].tolist() == [-1.5, -1.5]
    with open(path, newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not any(cell.startswith(RUN) for cell in cells)
    assert "-1.5" in path.read_text()


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=1
    )
)
def test_any_name_comes_back(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    assert round_trip(path, names)["client_id"].tolist() == names


def test_any_column_of_texts_is_guarded_and_no_other(tmp_path):
    table = pd.DataFrame(
        {
            "source": pd.Categorical(["=a", "b"]),
            "held": [True, None],
            "number": [-1, -2],
            "figures": ["-7.2 / -4.4", None],
        }
    )
    write_table(table, tmp_path / "a.csv")
    found = read_table(tmp_path / "a.csv")
    assert found["source"].tolist() == ["=a", "b"]
    assert found["number"].tolist() == [-1, -2]
    assert found["figures"].tolist()[0] == "-7.2 / -4.4"
    assert table["source"].tolist() == ["=a", "b"]  # as it was
