"""What became of one document, readable."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.panel import Panel
from rich.text import Text

from pipelines.inspect.excerpt import beginning_of
from pipelines.inspect.show_row import passage_line
from pipelines.inspect.trace import DocumentTrace, Entry, Holding, Refusal, trace_document
from plugins.console import Console
from schemas.manifest import read_manifest

_SHOWN_ROWS = 20


def show_trace(arguments: argparse.Namespace) -> int:
    """Print a document's increments, texts, rows, answers and rejects; the exit status."""
    manifest = read_manifest(arguments.uri, arguments.manifest)
    trace = trace_document(arguments.uri, manifest, arguments.document_id)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(trace), indent=2, ensure_ascii=False))
        return 0
    _print(Console(highlight=False), trace, whole=arguments.whole)
    return 0


def _print(console: Console, trace: DocumentTrace, *, whole: bool) -> None:
    console.print(Text(f"document {trace.document_id}"), soft_wrap=True)
    if not trace.entries:
        console.print(Text("  not in the corpus"))
    for line in (*map(_entry, trace.entries), *map(_refusal, trace.refusals)):
        console.print(Text(f"  {line}"), soft_wrap=True)
    for holding in trace.holdings:
        about = "".join(f"{line}\n" for line in _about(holding))
        title = f"{holding.stream}, increment {holding.place.increment}, text {holding.text_id}"
        shown = Text(beginning_of(holding.text, whole=whole))
        console.print(Panel(Text(about, style="dim") + shown, title=Text(title)))
        if holding.generation is not None:
            answer = Text(beginning_of(holding.generation.text, whole=whole))
            console.print(Panel(answer, title="what the model answered"))


def _entry(entry: Entry) -> str:
    content = f", content {entry.content_hash}" if entry.content_hash else ""
    file = f", version of {entry.file}" if entry.file else ""
    return f"increment {entry.increment}, {entry.stream}: {entry.state}{content}{file}"


def _refusal(refusal: Refusal) -> str:
    reject = refusal.reject
    detail = f" ({reject.detail})" if reject.detail else ""
    return f"increment {refusal.increment}, {reject.stage}: {reject.reason}{detail}, {reject.source}"


def _about(holding: Holding) -> list[str]:
    passage, answer = holding.passage, holding.generation
    names = [f"{holding.stream}:{row}" for row in holding.rows[:_SHOWN_ROWS]]
    more = f" and {len(holding.rows) - _SHOWN_ROWS} more" if len(holding.rows) > _SHOWN_ROWS else ""
    lines = [
        passage_line(passage),
        f"characters {passage.start} to {passage.end}, {holding.template}; group {holding.place.group}, "
        f"text {holding.place.position}" + ("" if holding.is_current else "; superseded"),
        f"rows {', '.join(names)}{more}",
    ]
    if answer is not None:
        lines.append(
            f"{answer.prompt_tokens} prompt tokens, {answer.completion_tokens} completion tokens, "
            f"finished by {answer.finish_reason}"
        )
    elif passage.generation:
        lines.append("the journal does not hold its answer any more")
    return lines
