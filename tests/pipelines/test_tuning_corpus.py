"""Tuning data for synthesizers from question-answer datasets, built as users do: YAML to shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.store.packed_rows import read_rows
from plugins.protocols.instruction_synthesizer import answer_text, parse_answer, prompt_text
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.config import validate
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import read_manifest
from schemas.mds import MdsWriter
from tests.tiny import located

SEQ_LEN = 256


def sentence(name: str) -> str:
    return f"The trial of drug {name} tells of a cell that binds a protein in the blood."


def squad_json(path: Path, count: int) -> str:
    """SQuAD's JSON: paragraphs with one to three questions each, and two useless ones."""
    paragraphs: list[dict[str, Any]] = [
        {
            "context": sentence(f"s{number}"),
            "qas": [
                {"question": f"Which cell is {at}?", "answers": [{"text": f"cell {number}-{at}"}]}
                for at in range(1 + number % 3)
            ],
        }
        for number in range(count)
    ]
    paragraphs.append({"context": sentence("none"), "qas": [{"question": "Why?", "answers": []}]})
    paragraphs.append({"qas": [{"question": "Why?", "answers": [{"text": "So."}]}]})
    path.write_text(json.dumps({"data": [{"title": "Trials", "paragraphs": paragraphs}]}), encoding="utf-8")
    return str(path)


def hub_rows(count: int) -> list[dict[str, Any]]:
    """SQuAD's rows on the hub: two questions about each context, far apart."""
    return [
        {"context": sentence(f"h{number}"), "question": question, "answers": {"text": [f"dose {number}"]}}
        for question in ("What was given?", "What was taken?")
        for number in range(count)
    ]


def collection_rows(name: str, count: int) -> list[dict[str, Any]]:
    """Rows in the format of ft-instruction-synthesizer-collection."""
    question = "Which?\nOptions:\n- lung\n- heart"
    return [
        {
            "context": sentence(f"{name}{number}"),
            "QA_list": [{"Q": question, "A": "heart"}],
            "QA_type": "x",
            "rc_name": name,
        }
        for number in range(count)
    ]


def config_of(
    corpus: Path, sources: list[dict[str, Any]], tokenizer_dir: str, **changes: Any
) -> CorpusConfig:
    values = {
        "corpus": str(corpus),
        "streams": {"tuning": {"tuning": {}, "sources": sources}},
        "dedup": {"near": None},
        "tokenizer": {"name": tokenizer_dir},
        "pack": {"seq_len": SEQ_LEN, "top_up": False},
        **changes,
    }
    return validate(CorpusConfig, values, name="test")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, write_jsonl: Any) -> list[dict[str, Any]]:
    root = tmp_path_factory.mktemp("sets")
    rows = collection_rows("race", 5) + collection_rows("quail", 4)
    return [
        {"preset": "squad", "uri": squad_json(root / "train.json", 12)},
        {"preset": "squad-hub", "reader": "jsonl", "uri": write_jsonl(root / "hub.jsonl", hub_rows(12))},
        {
            "preset": "ft-instruction-synthesizer-collection",
            "uri": write_jsonl(root / "collection.jsonl", rows),
        },
    ]


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, sources: list[dict[str, Any]], tokenizer_dir: str, build: Any
) -> str:
    config = config_of(tmp_path_factory.mktemp("tuning") / "corpus", sources, tokenizer_dir)
    build(config)
    return config.corpus


def rows_of(corpus: str, number: int | None = None) -> list[dict[str, Any]]:
    (shards, *_) = read_manifest(corpus, number).shard_sets("tuning")
    return list(read_rows(corpus, shards))


def without_and_with_loss(row: dict[str, Any], tokenizer: Any) -> tuple[str, str]:
    """Decode the tokens of a row without loss, and those with loss."""
    used = int(row["segment_lengths"].sum())
    carries = np.zeros(used, bool)
    for start, end in row["loss_spans"].reshape(-1, 2).tolist():
        carries[start:end] = True
    tokens = row["tokens"][:used]
    return tokenizer.decode(tokens[~carries]), tokenizer.decode(tokens[carries])


@pytest.mark.slow
def test_loss_is_on_the_pairs_and_on_nothing_else(built: str, tokenizer_dir: str, texts_in: Any) -> None:
    tokenizer = load_tokenizer(tokenizer_dir)
    rows = rows_of(built)
    assert len(rows) > 3
    for row in rows:
        read, answered = without_and_with_loss(row, tokenizer)
        assert (
            "<QUE>" not in read and "<CON>" not in answered and read.count("<s>") == answered.count("<|end")
        )
        pieces = answered.split("<|endoftext|>")
        for piece in pieces[:-1]:
            parsed = parse_answer(piece)
            assert parsed.pairs and not parsed.num_bad_pieces
            assert answer_text(parsed.pairs) == piece
    texts = texts_in(built, "tuning")
    names = [passage.document_id for text in texts for passage in text.passages]
    assert len(names) == len(set(names)) == 12 + 12 + 5 + 4
    assert {text.template for text in texts} == {"tuning/instruction_synthesizer"}


def test_a_text_holds_examples_of_one_set_and_contexts_come_with_all_their_pairs(
    built: str, texts_in: Any
) -> None:
    kinds = set()
    for text in texts_in(built, "tuning"):
        found = {
            passage.source.rsplit("/", 1)[-1].partition(":")[0]
            + ("quail" if "quail" in text.text[passage.start : passage.end] else "")
            for passage in text.passages
        }
        assert len(found) == 1
        kinds |= found
        if found == {"hub.jsonl"}:
            for passage in text.passages:
                answers = parse_answer(text.text[passage.start + passage.prompt_length : passage.end]).pairs
                assert [pair.instruction for pair in answers] == ["What was given?", "What was taken?"]
    assert kinds == {"train.json", "hub.jsonl", "collection.jsonl", "collection.jsonlquail"}


def test_what_is_of_no_use_is_named_with_file_and_position(
    built: str, sources: list[dict[str, Any]], rejects_in: Any
) -> None:
    found = [(each["source"], each["reason"]) for each in rejects_in(built, "read")]
    train = sources[0]["uri"]
    assert found == [
        (f"{train}:data[0].paragraphs[13]", "missing_field"),
        (f"{train}:data[0].paragraphs[12].qas[0]", "no_answer"),
    ]


@pytest.mark.slow
def test_rows_do_not_depend_on_files_and_their_order(
    built: str,
    sources: list[dict[str, Any]],
    tokenizer_dir: str,
    tmp_path: Path,
    build: Any,
    write_jsonl: Any,
) -> None:
    rows = hub_rows(12)
    hub = Path(sources[1]["uri"])
    for number in range(2):  # each file has one of the two questions about a context
        write_jsonl(tmp_path / "parts" / f"{number}.jsonl", rows[number * 12 : number * 12 + 12])
    moved = [sources[2], {**sources[1], "uri": str(tmp_path / "parts" / "*.jsonl")}, sources[0]]
    config = config_of(tmp_path / "corpus", moved, tokenizer_dir)
    build(config, "--direct_runner_bundle_repeat=1")
    decoded = [
        sorted(
            load_tokenizer(tokenizer_dir).decode(row["tokens"][start:end])
            for row in rows_of(corpus)
            for start, end in row["loss_spans"].reshape(-1, 2).tolist()
        )
        for corpus in (built, config.corpus)
    ]
    assert hub.exists() and decoded[0] == decoded[1]


def test_a_sound_corpus_passes_and_spans_that_cannot_be_are_named(
    built: str, tutelage: Any, tmp_path: Path
) -> None:
    assert tutelage("corpus", "verify", built).status == 0
    (shards,) = read_manifest(built).shard_sets("tuning")
    rows = rows_of(built)
    corpus = tmp_path / "corpus"
    storage.write_bytes(
        str(corpus / "manifest" / "000001.json"), read_manifest(built).model_dump_json().encode()
    )
    bad = ([], [3], [5, 4], [0, 9, 8, 12], [-1, 3], [0, SEQ_LEN + 1])
    folder = corpus / shards.path
    folder.mkdir(parents=True)
    writer = MdsWriter(str(folder), rows[0], compression=None, hashes=(), size_limit=1 << 26)
    for row, spans in zip(rows, [*bad[1:], *([[2, 7, 7, 9]] * len(rows))], strict=False):
        writer.write({**row, "loss_spans": np.array(spans, np.int32)})
    writer.finish()
    done = tutelage("corpus", "verify", str(corpus))
    assert done.status == 1
    assert (
        "row 0 has loss spans [3], expected a first token and an end for each of at least one, in order"
        in (done.out)
    )
    assert "2 more rows are wrong" in done.out


def test_rows_are_shown_with_how_much_of_them_carries_loss(
    built: str, tutelage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    row = rows_of(built)[0]
    length = int(row["segment_lengths"][0])
    spans = [(start, end) for start, end in row["loss_spans"].reshape(-1, 2).tolist() if end <= length]
    note = f", loss on {sum(end - start for start, end in spans)} ──"
    assert f"── {length} tokens{note}" in tutelage("corpus", "show", built, "--texts", "0", "--rows", "1").out
    assert note in tutelage("corpus", "show", built, "--row", "tuning:0").out
    card = located(built, "increments/000001/README.md").read_text(encoding="utf-8")
    assert "| tuning | the source's own, for synthesizer tuning | squad |" in card


@pytest.mark.slow
def test_changed_contexts_supersede_and_compact_keeps_the_loss(
    tmp_path: Path, tokenizer_dir: str, write_jsonl: Any, build: Any, tutelage: Any
) -> None:
    from pipelines.increments.compact import compact

    rows = [{**row, "id": f"id-{number}"} for number, row in enumerate(collection_rows("race", 8))]
    uri = write_jsonl(tmp_path / "a.jsonl", rows)
    source = {"preset": "ft-instruction-synthesizer-collection", "uri": uri, "id_field": "id"}
    config = config_of(tmp_path / "corpus", [source], tokenizer_dir)
    assert build(config).number == 1
    rows[3]["QA_list"].append({"Q": "Why?", "A": "Of new interest."})
    write_jsonl(tmp_path / "a.jsonl", rows)
    second = build(config)
    assert second.increments[-1].superseded_document_ids == ("id-3",)
    assert (second.increments[-1].num_documents, second.increments[-1].streams["tuning"].num_pairs) == (1, 2)
    third = compact(config, quiet=True)
    assert third is not None and third.increments[-1].streams["tuning"].num_pairs == 9
    tokenizer = load_tokenizer(tokenizer_dir)
    answered = "".join(without_and_with_loss(row, tokenizer)[1] for row in rows_of(config.corpus))
    assert answered.count("Of new interest.") == 1 and "<CON>" not in answered
    assert answered.count("<|endoftext|>") == 8


@pytest.mark.slow
def test_pairs_that_overlap_with_an_evaluation_task_go_and_their_contexts_stay(
    tmp_path: Path, tokenizer_dir: str, write_jsonl: Any, build: Any, texts_in: Any, rejects_in: Any
) -> None:
    asked = "Which of the organs that were named in the lecture pumps blood through the whole body?"
    rows = collection_rows("race", 3)
    rows[0]["QA_list"].append({"Q": asked, "A": "The heart."})
    rows[1]["QA_list"] = [{"Q": asked, "A": "The heart."}]
    rows[2]["context"] = f"A context that holds it. {asked} It is the heart."
    task = write_jsonl(
        tmp_path / "task.jsonl", [{"input": asked, "options": ["heart", "lung"], "gold_index": 0}]
    )
    source = {
        "preset": "ft-instruction-synthesizer-collection",
        "uri": write_jsonl(tmp_path / "a.jsonl", rows),
    }
    config = config_of(tmp_path / "corpus", [source], tokenizer_dir, decontaminate={"tasks": task})
    build(config)
    (text,) = texts_in(config.corpus, "tuning")
    assert (text.num_pairs, asked in text.text, rows[0]["context"] in text.text) == (1, False, True)
    assert [each["reason"] for each in rejects_in(config.corpus, "decontaminate")] == [
        "pair_task_overlap",
        "pair_task_overlap",
        "task_overlap",
    ]
    assert [each["reason"] for each in rejects_in(config.corpus, "tuning")] == ["no_pairs"]


@pytest.mark.slow
def test_other_streams_of_the_corpus_have_no_column_more(
    tmp_path: Path,
    sources: list[dict[str, Any]],
    corpus_config: Any,
    passages: Any,
    write_jsonl: Any,
    build: Any,
) -> None:
    raw = {"sources": [{"reader": "jsonl", "uri": write_jsonl(tmp_path / "raw.jsonl", passages(20))}]}
    tuning = {"tuning": {"max_examples": 4}, "sources": sources[:1]}
    config = corpus_config(
        tmp_path / "corpus", streams={"raw": raw, "tuning": tuning}, pack={"seq_len": SEQ_LEN}
    )
    manifest = build(config)
    columns = {
        name: json.loads((tmp_path / "corpus" / shards.path / "index.json").read_text())["shards"][0][
            "column_names"
        ]
        for name, shards in manifest.increments[-1].streams.items()
    }
    assert {name: sorted(found) for name, found in columns.items()} == {
        "raw": ["segment_lengths", "tokens"],
        "tuning": ["loss_spans", "segment_lengths", "tokens"],
    }
    assert manifest.increments[-1].streams["tuning"].num_pairs == 4 * 3


def test_a_plan_counts_examples_with_their_pairs(
    sources: list[dict[str, Any]], tokenizer_dir: str, tmp_path: Path
) -> None:
    from pipelines.planning.plan import plan_increment

    found = plan_increment(config_of(tmp_path / "corpus", sources[2:], tokenizer_dir), quiet=True)
    tokenizer = load_tokenizer(tokenizer_dir)
    rows = collection_rows("race", 5) + collection_rows("quail", 4)
    wholes = [
        f"{prompt_text(row['context'])}<QUE> {row['QA_list'][0]['Q']} <ANS> {row['QA_list'][0]['A']} </END>"
        for row in rows
    ]
    plan = found.streams["tuning"]
    assert (plan.num_new, plan.num_requests) == (9, 0)
    assert plan.text_tokens == sum(len(tokenizer(whole).input_ids) for whole in wholes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"streams": {"a": {"tuning": {}, "sources": [{"reader": "jsonl", "uri": "a"}]}}},
            "streams.a has tuning, but its source 'a' has no pairs_field. Set it to the field of the "
            "pairs, or use a preset such as squad.",
        ),
        (
            {"streams": {"a": {"sources": [{"preset": "squad", "uri": "a"}]}}},
            "streams.a: source 'a' has pairs_field 'qas', which only a stream with tuning uses. "
            "Set `tuning: {}`, or pairs_field: null.",
        ),
        (
            {
                "streams": {
                    "a": {"tuning": {}, "synthesize": True, "sources": [{"preset": "squad", "uri": "a"}]}
                }
            },
            "has both synthesize and tuning",
        ),
        (
            {"pack": {"method": "concat", "seq_len": 64}},
            "pack.method is 'concat', which cuts texts at row ends",
        ),
        ({"streams": {"a": {"tuning": {"max_exampels": 3}, "sources": []}}}, "Did you mean 'max_examples'?"),
    ],
)
def test_what_contradicts_itself_is_refused(
    changes: dict[str, Any], message: str, sources: list[dict[str, Any]], tokenizer_dir: str, tmp_path: Path
) -> None:
    from pipelines.increments.preflight_checks import check_names

    with pytest.raises(ConfigError) as caught:
        check_names(config_of(tmp_path / "corpus", sources, tokenizer_dir, **changes))
    assert message in str(caught.value)


def test_a_tokenizer_without_bos_is_refused_before_anything_is_written(
    sources: list[dict[str, Any]], tokenizer_dir: str, tmp_path: Path, build: Any
) -> None:
    tokenizer = load_tokenizer(tokenizer_dir)
    tokenizer.bos_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ConfigError, match="has no BOS or no EOS token; each example"):
        build(config_of(tmp_path / "corpus", sources, str(tmp_path / "tokenizer")))
    assert not (tmp_path / "corpus").exists()
