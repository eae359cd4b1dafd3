"""`tutelage report`: one HTML page about corpora and runs."""

from __future__ import annotations

from collections.abc import Sequence

from plugins.commands.parser import Parser
from plugins.report import PARTS
from plugins.report.page import place_name, render
from schemas import exit_status, storage
from schemas.config import load_config
from schemas.corpus_layout import manifest_numbers, parse_manifest_uri
from schemas.errors import ConfigError
from schemas.manifest import read_manifest


def main(argv: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(prog="tutelage report", description="Write one HTML page about corpora and runs.")
    parser.add_argument(
        "places",
        metavar="CORPUS_OR_RUN",
        nargs="+",
        help="a corpus, its YAML or a manifest of it; or a run: the folder of metrics.jsonl or scores.jsonl",
    )
    parser.add_argument("--output", metavar="FILE", default="report.html", help="default: report.html")
    parser.add_argument("--title", help="heading of the page (default: names of corpora and runs)")
    parser.add_quiet()
    arguments = parser.parse_args(argv)
    corpora, runs = [], []
    for place in dict.fromkeys(each.rstrip("/") or each for each in arguments.places):
        if place.endswith((".yaml", ".yml")):
            from schemas.corpus_config import CorpusConfig

            place = load_config(CorpusConfig, place).corpus
        corpus, number = parse_manifest_uri(place) or (place, None)
        if number is not None or manifest_numbers(corpus):
            corpora.append((corpus, read_manifest(corpus, number)))
        elif any(storage.exists(storage.join(place, name)) for name in ("metrics.jsonl", "scores.jsonl")):
            runs.append(place)
        else:
            raise ConfigError(
                f"{place!r} is no corpus (it has no manifest/*.json) and no run (it has neither "
                "metrics.jsonl nor scores.jsonl). Name the folder of one of these."
            )
    parts = [PARTS.load("corpus")(corpus, manifest) for corpus, manifest in corpora]
    if runs:
        parts.append(PARTS.load("run")(runs))
    names = [place_name(place) for place in (*(corpus for corpus, _ in corpora), *runs)]
    data = render(arguments.title or f"Report: {', '.join(names)}", parts)
    storage.write_bytes(arguments.output, data)
    print(f"{arguments.output}: {len(data) / 1e6:.2f} MB about {_number_of(corpora, runs)}")
    return exit_status.DONE


def _number_of(corpora: Sequence[object], runs: Sequence[object]) -> str:
    """Phrase how many there are: "1 corpus and 2 runs"."""
    kinds = ((corpora, "corpus", "corpora"), (runs, "run", "runs"))
    return " and ".join(f"{len(of)} {one if len(of) == 1 else more}" for of, one, more in kinds if of)
