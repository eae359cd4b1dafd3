"""Annotations of a PDF page: which draw text on it, and which are comments beside it."""

from __future__ import annotations

from typing import Any

import pypdfium2.raw as pdfium

_DRAWN = {pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP, pdfium.FPDF_ANNOT_WIDGET}
_NO_COMMENTS = {pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_WIDGET}
_EMPTY_BYTES = 2
"""Size of an empty text in PDFium: the zero at its end."""


def annotations_of(page: Any) -> tuple[bool, int]:
    """Return True if annotations draw text on a page, and the number of those whose text is not drawn."""
    is_drawn, num_comments = False, 0
    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        if not (annotation := pdfium.FPDFPage_GetAnnot(page.raw, index)):
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        is_text = kind in _DRAWN and bool(pdfium.FPDFAnnot_HasKey(annotation, b"AP"))
        if kind == pdfium.FPDF_ANNOT_FILEATTACHMENT:
            num_comments += 1
        elif not is_text and kind not in _NO_COMMENTS:
            size = pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
            num_comments += size > _EMPTY_BYTES
        is_drawn = is_drawn or is_text
        pdfium.FPDFPage_CloseAnnot(annotation)
    return is_drawn, num_comments
