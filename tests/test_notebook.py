"""The notebook in examples/ runs from its first cell to its chart, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "from_documents_to_chart.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_and_its_training_lowers_the_loss(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == "STEPS = 60"
    first.source = "STEPS = 8"

    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert any("image/png" in data for data in shown)
    steps, loss = next(
        eval(data["text/plain"]) for data in shown if data.get("text/plain", "").startswith("(8,")
    )
    assert steps == 8
    assert 0 < loss < 5


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells

    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
