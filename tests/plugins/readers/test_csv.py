"""Tables as text: dialects, headers, bad rows."""

from __future__ import annotations

import csv as standard
import io
from pathlib import Path

import pytest

from plugins.readers import csv, decompression
from schemas import limits
from schemas.errors import ConfigError
from schemas.records import Document
from tests.plugins.readers.reading import COMPRESS, jsonl, noise, only_reject, places, read, texts, write

ROWS = [
    ("text", "id", "n"),
    ("One, two; three.", "a", "1"),
    ('He said "no".\nThen: yes\t|', "b", "2"),
    ("caf\u00e9 \u56db", "c", "3"),
]
TEXTS = [row[0] for row in ROWS[1:]]


def table(rows: list[tuple[str, ...]] = ROWS, **dialect: object) -> bytes:
    out = io.StringIO()
    standard.writer(out, **dialect).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue().encode()


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_delimiter_is_found(tmp_path: Path, delimiter: str, line_end: str, ending: str) -> None:
    data = table(delimiter=delimiter, lineterminator=line_end)
    found = read("csv", write(tmp_path / f"a.csv{ending}", COMPRESS[ending](data)), id_field="id")
    assert texts(found) == TEXTS
    assert [each.document_id for each in found] == ["a", "b", "c"]


def test_single_quotes_are_found(tmp_path: Path) -> None:
    data = table([("text", "id"), *((f"It, said {n}", str(n)) for n in range(9))], quotechar="'", quoting=1)
    assert texts(read("csv", write(tmp_path / "a.csv", data))) == [f"It, said {n}" for n in range(9)]


def test_keys_replace_the_guess(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table(delimiter=":", quotechar="~"))
    assert texts(read("csv", path, delimiter=":", options={"quote": "~"})) == TEXTS
    # As PostgreSQL's COPY writes with ESCAPE '\'.
    path = write(tmp_path / "b.csv", b'text,id\n"He said \\"no\\", C:\\\\tmp",1\n')
    assert texts(read("csv", path, options={"escape": "\\"})) == ['He said "no", C:\\tmp']
    path = write(tmp_path / "c.tsv", b'text\tid\n"Open quote\t1\nplain\t2\n')
    assert texts(read("tsv", path, options={"quote": ""})) == ['"Open quote', "plain"]


def test_a_tsv_may_hold_more_commas_than_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"text\tid\n" + b"one, two, three\t1\n" * 5)
    assert texts(read("tsv", path)) == ["one, two, three"] * 5


def test_old_mac_line_ends(tmp_path: Path) -> None:
    assert texts(read("csv", write(tmp_path / "a.csv", b"id,text\r1,one\r2,two\r"))) == ["one", "two"]
    quoted = b'"id","text"\r"1","one, 5\nmg"\r"2","two"\r'
    assert texts(read("csv", write(tmp_path / "b.csv", quoted))) == ["one, 5\nmg", "two"]


def test_names_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table(ROWS[1:]))
    found = read(
        "csv",
        path,
        options={"columns": ["body", "key", "n"]},
        text_field="body",
        metadata_fields=["n"],
    )
    assert texts(found) == TEXTS
    assert [each.metadata for each in found if isinstance(each, Document)] == [{"n": n} for n in "123"]


def test_format_and_json_in_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table([("title", "text"), ("T", '{"body": "deep, and long"}')]))
    assert texts(read("csv", path, format="{title}: {text.body}")) == ["T: deep, and long"]


def test_positions_are_lines_and_bad_rows_cost_only_themselves(tmp_path: Path) -> None:
    data = (
        b'\xef\xbb\xbfid,text\n1,one\n\n2\n3,three,more\n4,"two\nlines"\n5,caf\xe9\n6,a\0b\n'
        b'7,"a" b\n8,eight\n9,"open\nto the end\n'
    )
    path = write(tmp_path / "a.csv", data)
    found = read("csv", path)
    assert places(path, found) == [
        ("2", "one"),
        ("4", "wrong_number_of_cells"),
        ("5", "wrong_number_of_cells"),
        ("6", "two\nlines"),
        ("8", "invalid_utf8"),
        ("9", "nul_byte"),
        ("10", "invalid_csv"),
        ("11", "eight"),
        ("12", "invalid_csv"),
    ]
    assert found[1].detail == "found 1 cells, expected 2 (delimiter ',', guessed, quote '\"', guessed)"
    assert found[-1].detail == (
        "unexpected end of data in a row of 2 lines (delimiter ',', guessed, quote '\"', guessed)"
    )


def test_a_file_without_the_column_names_what_was_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"title;body\nT;one\n")
    assert only_reject(read("csv", path)).detail == (
        "no column 'text'; the file has title, body (delimiter ';', guessed, quote '\"', guessed). "
        "Set text_field or format, or, if it has no header row, option `columns`."
    )
    path = write(tmp_path / "b.csv", b"text,text\none,two\n")
    assert only_reject(read("csv", path)).reason == "repeated_column"


def test_an_unclosed_quote_and_a_long_line_meet_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "_CELL_CHARACTERS", 100)
    path = write(tmp_path / "a.csv", b'id,text\n1,"open\n' + b"2,two\n" * 40)
    found = read("csv", path)
    assert (found[0].reason, found[0].source) == ("record_too_long", f"{path}:2")
    assert texts(found[1:]) == ["two"] * 40
    monkeypatch.setattr(limits, "RECORD_BYTES", 50)
    path = write(tmp_path / "b.csv", b"id,text\n1,one\n2," + b"x" * 80 + b"\n3,three\n")
    found = places(path, read("csv", path))
    assert found == [("2", "one"), ("3", "record_too_long"), ("4", "three")]


@pytest.mark.parametrize("num_rows", [15, 4_000])
def test_rows_before_damage_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_rows: int) -> None:
    monkeypatch.setattr(decompression, "_FRAME_BYTES", 64)
    data = COMPRESS[".gz"](b"text\n" + jsonl(*noise(num_rows)))
    path = write(tmp_path / "a.csv.gz", data[: len(data) // 2])
    *documents, last = read("csv", path, options={"quote": ""})
    assert len(texts(documents)) > num_rows // 4
    assert last.source == f"{path}:{len(documents) + 2}" and last.reason == "damaged_file"
    assert last.detail.endswith(f"; {len(documents) + 1} lines were read before it")


def test_a_delimiter_of_two_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs one character"):
        read("csv", tmp_path / "a.csv", delimiter="||")


def test_another_encoding_is_one_reject(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\none\n".encode("utf-16"))
    assert places(path, read("csv", path)) == [("", "not_utf8")]


def test_named_and_found_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table(delimiter=";").decode().encode("utf-16"))
    assert texts(read("csv", path, encoding="utf-16")) == TEXTS
    first, *_ = read("csv", path, encoding="auto")
    assert isinstance(first, Document) and first.metadata["detected_encoding"] == "utf-16"
    path = write(tmp_path / "b.csv", "text\n\u56db\n\u4e94\n".encode("gb18030").replace(b"\n", b"\n\xff", 1))
    found = read("csv", path, encoding="gb18030")
    assert [what for _, what in places(path, found)] == ["undecodable", "\u4e94"]


def test_an_unbalanced_quote_costs_its_row_and_not_those_behind_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'id,text\n1,"open\n2,two\n3,"three, quoted"\n4,four\n')
    found = read("csv", path)
    assert places(path, found) == [
        ("2", "invalid_csv"),
        ("3", "two"),
        ("4", "three, quoted"),
        ("5", "four"),
    ]
    assert only_reject(found).detail == (
        "',' expected after '\"' in a row of 3 lines; a quote is not closed: 1 line is left out, "
        "line 3 is the next (delimiter ',', guessed, quote '\"', guessed)"
    )
    path = write(
        tmp_path / "b.csv",
        b'id,text\n1,"open\nfirst\nsecond\n' + b"".join(b"%d,row\n" % n for n in range(40)),
    )
    found = read("csv", path)
    assert texts(found[1:]) == ["row"] * 40
    assert "in a row of 43 lines; a quote is not closed: 3 lines are left out, line 5 is the next" in str(
        found[0]
    )


def test_lines_of_a_broken_row_are_no_rows_unless_most_have_its_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'id,text\n1,"One.\n\nTwo\nthree, four.\nFive." six\n2,two\n')
    assert places(path, read("csv", path)) == [("2", "invalid_csv"), ("7", "two")]
    path = write(tmp_path / "b.csv", b'text\n"One.\nTwo." three\nfour\n')
    assert places(path, read("csv", path)) == [("2", "invalid_csv"), ("4", "four")]


def test_of_tabs_a_quote_over_lines_that_are_rows_is_no_quote(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tsv", b'id\ttext\n1\t"Big data\n2\ttwo\n3\tpipe of 5"\n4\t"four\nlines"\n5\t"a\tb"\n'
    )
    for reader in ("tsv", "csv"):
        found = read(reader, path)
        assert places(path, found) == [
            ("2", "unbalanced_quote"),
            ("3", "two"),
            ("4", 'pipe of 5"'),
            ("5", "four\nlines"),
            ("7", "a\tb"),
        ]
        assert only_reject(found).detail.startswith(
            "the lines of a quoted cell are rows by themselves in a row of 3 lines; a quote is not closed: "
            "1 line is left out, line 3 is the next (delimiter '\\t'"
        )


def test_a_fault_in_a_line_that_is_read_again_stays_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'id,text\n1,"open\n2,caf\xe9\n3,three\n')
    assert places(path, read("csv", path)) == [("2", "invalid_csv"), ("3", "invalid_utf8"), ("4", "three")]


def test_a_first_line_that_names_the_delimiter_is_no_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'\xef\xbb\xbfsep=|\r\nid|text\r\n1|one, two; three\r\n2|"two\r\n')
    found = read("csv", path)
    assert places(path, found) == [("3", "one, two; three"), ("4", "invalid_csv")]
    assert only_reject(found).detail == "unexpected end of data (delimiter '|', quote '\"', guessed)"
    path = write(tmp_path / "b.csv", b"sep=,\nid;text\n1;one, two\n")
    assert texts(read("csv", path, delimiter=";")) == ["one, two"]


def test_a_header_behind_comments_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"# exported\n# by us\nid,text\n1,one\n")
    assert only_reject(read("csv", path)).detail == (
        "no column 'text'; the file has one column, # exported (delimiter none, guessed, quote '\"', guessed)"
        ". Line 3 looks like the header row: remove the lines above it."
    )


BACKSLASHES = (
    " (delimiter ',', guessed, quote '\"', guessed). If a backslash makes the next character plain, set "
    'option `escape: "\\\\"`'
)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b'id,text\n1,"Not \\"so\\", he said"\n', f"',' expected after '\"'{BACKSLASHES}"),
        (b"id,text\n1,One\\, two\n", f"found 3 cells, expected 2{BACKSLASHES}"),
    ],
)
def test_a_bad_row_names_the_key_that_reads_it(tmp_path: Path, data: bytes, detail: str) -> None:
    path = write(tmp_path / "a.csv", data)
    assert only_reject(read("csv", path)).detail == detail
    assert texts(read("csv", path, options={"escape": "\\"})) in (['Not "so", he said'], ["One, two"])


def test_a_table_of_one_column_has_no_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'text\nOne, two.\n"Three;\nfour."\n' + b"plain\n" * 30 + b"a,b\n")
    found = read("csv", path)
    assert texts(found) == ["One, two.", "Three;\nfour.", *["plain"] * 30, "a,b"]
    path = write(tmp_path / "b.csv", b"One, two.\nThree.\n")
    assert texts(read("csv", path, options={"columns": ["text"]})) == ["One, two.", "Three."]
    assert only_reject(read("csv", path)).detail == (
        "no column 'text'; the file has One, two. (delimiter ',', guessed, quote '\"', guessed). "
        "Set text_field or format, or, if it has no header row, option `columns`."
    )
    assert only_reject(read("csv", path, delimiter=",", options={"columns": ["text"]})).detail == (
        "found 2 cells, expected 1 (delimiter ',', quote '\"', guessed). If the table has one column, set "
        "`delimiter` to a character that no line holds"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"id, text\n1, one\n", ["one"]),
        (b"id,text\n1, one\n", [" one"]),
        (b"text;note\na, b;x\nc, d, e;y\n", ["a, b", "c, d, e"]),
        (b"id,text\n1,'tis late\n2,the boys'\n", ["'tis late", "the boys'"]),
        (b"id,text\n'1','one'\n'2','two'\n", ["one", "two"]),
        (b"id|text\n1|'a|b'\n2|c\n", ["a|b", "c"]),
    ],
)
def test_guesses(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    assert texts(read("csv", write(tmp_path / "a.csv", data))) == expected
