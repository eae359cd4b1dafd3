"""The generated reference pages."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[1] / "docs" / "generate_reference.py"


@pytest.mark.slow
def test_the_page_of_plugins_says_where_the_options_of_a_folder_are() -> None:
    pytest.importorskip("composer")
    page = runpy.run_path(str(PAGES))["plugins_page"]()
    sections = {each.partition("\n")[0]: each.partition("\n\n")[2] for each in page.split("\n### ")[1:]}
    assert sections["folder"].startswith(
        "Its options are those of the readers of its files, by their names, such as "
        "`options: {pdf: {pages_per_document: 1}}`."
    )
    assert sections["html"].startswith("It has no options.")
    assert "`pages_per_document`" in sections["pdf"]
