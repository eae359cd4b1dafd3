"""Names of fields that a reader never gives."""

from __future__ import annotations

import pytest

from plugins.readers import open_reader
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("reader", "options", "found"),
    [
        (
            "jats",
            {"metadata_fields": ("title", "jurnal")},
            "metadata_fields: field of reader 'jats' 'jurnal'",
        ),
        ("medline", {"id_field": "pmidd"}, "id_field: field of reader 'medline' 'pmidd'"),
        ("mediawiki", {"id_field": "id", "version_field": "dates"}, "field of reader 'mediawiki' 'dates'"),
        ("edgar", {"metadata_fields": ("cikk",)}, "field of reader 'edgar' 'cikk'"),
        ("wet", {"metadata_fields": ("urls",)}, "field of reader 'wet' 'urls'"),
        ("html", {"metadata_fields": ("titel",)}, "field of reader 'html' 'titel'"),
        ("docx", {"metadata_fields": ("autor",)}, "field of reader 'docx' 'autor'"),
    ],
)
def test_a_field_that_a_reader_never_gives_is_refused(
    reader: str, options: dict[str, object], found: str
) -> None:
    with pytest.raises(ConfigError) as error:
        open_reader(SourceConfig(reader=reader, uri="a", **options))  # type: ignore[arg-type]
    assert f"{found} is unknown. Did you mean" in str(error.value)


def test_other_names_pass() -> None:
    both = ("title", "detected_encoding")
    open_reader(
        SourceConfig(reader="html", uri="a", text_field="body", metadata_fields=both, encoding="auto")
    )
    open_reader(SourceConfig(reader="jsonl", uri="a", metadata_fields=("anything",)))
    open_reader(SourceConfig(reader="folder", uri="a", metadata_fields=("anything",)))
