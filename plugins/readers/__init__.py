"""Registry of readers: file formats by name.

    SourceConfig ─► its preset's fields ─► a Reader ─► rows of each file ─► documents and rejects
                    presets.yaml           READERS     Reader.rows          documents.py

`schemas/corpus_config.py` has the fields of a source. A new reader is one file here and one line below.
"""

from plugins.readers.base import Reader
from plugins.readers.documents import check_fields
from plugins.readers.presets import with_preset
from plugins.registry import Registry
from schemas.corpus_config import SourceConfig

READERS = Registry(
    "reader",
    "tutelage.readers",
    {
        "csv": "plugins.readers.csv:CsvReader",
        "docling": "plugins.readers.docling:DoclingReader",
        "docx": "plugins.readers.docx:DocxReader",
        "edgar": "plugins.readers.edgar:EdgarReader",
        "epub": "plugins.readers.epub:EpubReader",
        "folder": "plugins.readers.folder:FolderReader",
        "html": "plugins.readers.html:HtmlReader",
        "huggingface": "plugins.readers.huggingface:HuggingfaceReader",
        "jats": "plugins.readers.jats:JatsReader",
        "jsonl": "plugins.readers.jsonl:JsonlReader",
        "markdown": "plugins.readers.markdown:MarkdownReader",
        "mediawiki": "plugins.readers.mediawiki:MediawikiReader",
        "medline": "plugins.readers.medline:MedlineReader",
        "parquet": "plugins.readers.parquet:ParquetReader",
        "pdf": "plugins.readers.pdf:PdfReader",
        "rst": "plugins.readers.rst:RstReader",
        "squad": "plugins.readers.squad:SquadReader",
        "text": "plugins.readers.text:TextReader",
        "tsv": "plugins.readers.csv:TsvReader",
        "warc": "plugins.readers.warc:WarcReader",
        "wet": "plugins.readers.warc:WarcReader",
    },
)


def open_reader(source: SourceConfig) -> Reader:
    """Make the reader of a source, with the fields of its preset; without either it is `folder`.

    Raises:
        ConfigError: A name is unknown, the reader does not use a field that is set, or its rows never have a
            field that is named.
    """
    source = with_preset(source)
    reader: Reader = READERS.load(source.reader or "folder")(source)
    if reader.fields is not None:
        check_fields(source, reader.fields)
    return reader
