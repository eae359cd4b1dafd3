"""Readers by name: how files of one kind become documents."""

from plugins.registry import Registry

READERS = Registry(
    "reader",
    "tutelage.readers",
    {
        "jsonl": "plugins.readers.jsonl:JsonlReader",
        "parquet": "plugins.readers.parquet:ParquetReader",
        "text": "plugins.readers.text:TextReader",
    },
)
