"""Report: one HTML page about corpora and runs, for somebody who was not there.

    corpus ─► pipelines/inspect/report ─┐
                                        ├─► Part: sections of blocks (blocks.py) ─► page.py, page.html.jinja
    run ────► trainer/reporting ────────┘                    ▲                             └─► report.html
                                          charts.py: lines as SVG

The page is one file: no network, no font, no image beside it; a Content-Security-Policy forbids everything
but its own style and script. Sizes and shares are tables with bars, so a corpus needs no plotting library.
"""

from plugins.registry import Registry

PARTS = Registry(
    "kind of report",
    "tutelage.report_parts",
    {
        "corpus": "pipelines.inspect.report.corpus_part:corpus_part",
        "run": "trainer.reporting.run_part:run_part",
    },
)
"""What a report can be about; a target makes a `blocks.Part`."""
