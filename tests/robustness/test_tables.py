"""Tables: cells of any text are read as written, and other files are refused with their names."""

import string

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError, TableError
from opnmf_pipeline.images.cohort import find_cohort
from opnmf_pipeline.selection.splits import strata_of
from opnmf_pipeline.tables import read_table, table_text, typed, write_table
from tests.robustness.generated import cases

HARD = st.sampled_from(
    (
        *("NA", "None", "null", "nan", "NaN", "inf", "TRUE", "007", "01", "1_0", "10:12", "010"),
        *(
            '"',
            '""',
            "'",
            '"a',
            'a"b"',
            "1e3",
            "1.0",
            "-0",
            " a ",
            "#",
            "89+",
            "é",
            "\x85",
            "\u2028",
        ),
        *("N/A", "n/a ", "=1+1", "<b>", "[red]", "\\t", "\x1b[31m", ",", ";", "\u0661"),
    )
)
CELLS = HARD | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), max_size=8
)
NAMES = CELLS.map(str.strip).filter(
    lambda name: name != "" and not name.startswith("\ufeff") and '"' not in (name[0], name[-1])
)


@st.composite
def tables(draw):
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    rows = draw(st.lists(st.lists(CELLS | st.none(), min_size=len(names), max_size=len(names))))
    # a line of spaces is no row, and empty last cells are those of a spreadsheet
    return names, [["x", *row[1:-1], row[-1] or "y"] for row in rows]


@cases(quick=40)
@given(tables())
def test_a_table_is_read_as_it_was_written(content):
    names, rows = content
    table = pd.DataFrame(rows, columns=names, dtype=object)
    text = table_text(table)
    path = FOLDER / "table.tsv"
    path.write_text(text, encoding="utf-8", newline="")
    again = read_table(path)
    assert list(again) == names
    kept = [[None if cell == "n/a" else cell for cell in row] for row in rows]
    assert again.astype(object).where(again.notna(), None).to_numpy().tolist() == kept
    assert table_text(again) == text


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """The folder of the files of a test; hypothesis allows no fixture that changes."""
    global FOLDER
    FOLDER = tmp_path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ends_of_lines_and_marks_are_no_content(tmp_path, end, mark):
    path = tmp_path / "t.tsv"
    lines = ["participant_id\tage", "007\tn/a", "", "NA\t89+", ""]
    path.write_text(mark + end.join(lines), encoding="utf-8", newline="")
    table = read_table(path)
    assert table["participant_id"].tolist() == ["007", "NA"]
    assert table["age"].isna().tolist() == [True, False]


def test_csv_with_semicolons_and_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id;"a,b";age;note;n\n01;x,1;23,5;1,2,3;1\n02;y;n/a;4;-2,25e1\n')
    table = read_table(path)
    assert list(table) == ["id", "a,b", "age", "note", "n"]
    assert table["a,b"].tolist() == ["x,1", "y"]
    assert table["age"].tolist()[0] == "23.5"
    assert table["note"].tolist() == ["1,2,3", "4"]
    assert table["n"].tolist() == ["1", "-2.25e1"]
    path.write_text("id\tage\n01\t23,5\n")
    assert read_table(path).iloc[0].tolist() == ["01", "23,5"]


def test_quotes_are_text_in_tsv_and_marks_in_csv(tmp_path):
    (tmp_path / "t.tsv").write_text('a\tb\n"x\ty"\n')
    assert read_table(tmp_path / "t.tsv").iloc[0].tolist() == ['"x', 'y"']
    (tmp_path / "t.csv").write_text('a,b\n"x,1","y\nz"\n')
    assert read_table(tmp_path / "t.csv").iloc[0].tolist() == ["x,1", "y\nz"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quotes_around_all_names_are_those_of_a_program(tmp_path, end):
    path = tmp_path / "t.tsv"
    lines = ['"id"\t"age"\t"note"', '"sub-01"\t20\t"a\tb"', '"sub-02"\tn/a\t"""x"""']
    path.write_text(end.join(lines) + end, newline="")
    table = read_table(path)
    assert list(table) == ["id", "age", "note"]
    assert table["id"].tolist() == ["sub-01", "sub-02"]
    assert table["age"].isna().tolist() == [False, True]
    assert table["note"].tolist() == ["a\tb", '"x"']


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_spaces_around_names_of_columns_are_removed(tmp_path, name):
    path = tmp_path / name
    path.write_text(" id, age ,a b\n x,1, y \n".replace(",", "," if "csv" in name else "\t"))
    assert list(read_table(path)) == ["id", "age", "a b"]
    assert read_table(path).iloc[0].tolist() == [" x", "1", " y "]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\n1\t2\t\n", None),
        ("a\ta \n1\t2\n", r"duplicate names \('a'\)"),
        ("a\tb\t\n1\t2\t\t\n", None),
        ("a\tb\n1\t2\t3\n", "line 2 has 3 fields, but the header has 2"),
        ("a\tb\n1\t2\n\n1\n", "line 4 has 1 fields, but the header has 2"),
        ("a\ta\n1\t2\n", "duplicate names"),
        ("a\t\tb\n1\t2\t3\n", "a column without a name"),
        ("a\0\n1\n", "not a text file"),
        ("\n\n", "the file is empty"),
    ],
)
def test_numbers_of_fields(tmp_path, text, expected):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    if expected is None:
        assert read_table(path).to_numpy().tolist() == [["1", "2"]]
    else:
        with pytest.raises(TableError, match=expected) as info:
            read_table(path)
        assert str(info.value).startswith(f"{path}: ")


@cases(quick=60)
@given(content=st.binary(max_size=60) | st.text("\t\n\r\",'ab01 \0", max_size=40).map(str.encode))
@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_any_bytes_are_a_table_or_an_error_with_the_file(name, content):
    path = FOLDER / name
    path.write_bytes(content)
    try:
        table = read_table(path)
    except TableError as error:
        message = str(error)
    else:
        assert all(typed(table[column]).size == len(table) for column in table)
        message = f"{path}: "
    assert message.startswith(f"{path}: ")


@cases(quick=40)
@given(values=st.lists(HARD | st.integers(-5, 99).map(str) | st.none(), max_size=12))
def test_any_column_can_be_balanced(values):
    column = typed(pd.Series(values, dtype=object))
    labels = strata_of(pd.DataFrame({"x": column}), ["x"], 3)
    assert labels.size == len(values)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", "2", None], True),
        (["1.5", "-2e3", ""], True),
        (["70", "89+"], True),
        (["89+", "90+"], False),
        (["01", "02"], False),
        (["1", "NA"], False),
        (["1", "nan"], False),
        (["1", "1e999"], False),
        (["1_0", "2"], False),
        (["\u0661", "\u0662"], False),
        (["10:12", "1"], False),
    ],
)
def test_what_is_a_number(cells, numbers):
    assert pd.api.types.is_numeric_dtype(typed(pd.Series(cells, dtype=object))) == numbers


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", "a\rb"])
def test_a_cell_that_no_table_can_hold_is_refused(tmp_path, cell):
    with pytest.raises(TableError, match=r"column image: .* contains a tab or a line break"):
        write_table(pd.DataFrame({"image": [cell]}), tmp_path / "t.tsv")
    assert not (tmp_path / "t.tsv").exists()


BAD_IDS = ["../x", "a/b", "..", ".", ".hidden", "a\\b", "a\x07", "x" * 300, "/etc"]


@pytest.mark.parametrize("name", BAD_IDS)
def test_an_identifier_cannot_leave_the_folder(cohort, name):
    table = cohort.root / "t.tsv"
    rows = [f"{name}\t{cohort.images[0]}", f"sub-02\t{cohort.images[1]}"]
    table.write_text("\n".join(["participant_id\tpath", *rows]))
    with pytest.raises(CohortError, match="cannot be part of a file name"):
        find_cohort(InputsConfig(table=table))


@pytest.mark.parametrize("name", ['"sub-01"', '"""sub-01"""'])
def test_identifiers_with_quotation_marks_are_refused(cohort, name):
    """Programs write such cells; the subject would be called sub-"sub-01"."""
    table = cohort.root / "t.tsv"
    table.write_text(f"participant_id\tpath\n{name}\t{cohort.images[0]}\n")
    with pytest.raises(CohortError, match=r"t\.tsv: 1 participant_id .* quotation marks, such as"):
        find_cohort(InputsConfig(table=table))


GOOD = string.ascii_letters + string.digits + "+ []{}()<>&'#%:;,=é"


@cases(quick=40)
@given(names=st.lists(st.text(GOOD, min_size=1, max_size=12), min_size=1, max_size=5, unique=True))
def test_other_identifiers_are_kept(names):
    names = sorted({name.strip() for name in names} - {"", "n/a"})
    path, rows = FOLDER / "t.tsv", []
    for number, name in enumerate(names):
        image = FOLDER / f"image{number}.nii"
        image.touch()
        rows.append(f"{name}\t{image}")
    path.write_text("\n".join(["participant_id\tpath", *rows]) + "\n", encoding="utf-8")
    if names:
        found, _ = find_cohort(InputsConfig(table=path))
        assert found["participant_id"].tolist() == [f"sub-{name}" for name in names]
