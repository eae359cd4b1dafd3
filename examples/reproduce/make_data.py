"""Small made data in the formats of the published recipe, and a tiny random model with its tokenizer.

    python -m examples.reproduce.make_data FOLDER

    data/pubmed/*.xml.gz           MEDLINE XML, titles and abstracts
    data/medicine/part-1/shard/…   JSON lines of texts with pairs, as the authors' augmented corpora
    data/news/*.jsonl.zst          JSON lines with `text`
    data/openorca/*.parquet        id, system_prompt, question, response
    data/tasks/TASK/test.json      rows of AdaptLLM's medicine-tasks and finance-tasks, one file a task
    tiny/                          a Llama of two layers, and a tokenizer of 1,000 tokens

Abstracts and instructions are the bundled ones of `examples/`; news and rows of tasks are invented.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow
import pyarrow.parquet
import zstandard

from tests.tiny import save_bpe, save_llama

EXAMPLES = Path(__file__).resolve().parents[1]
NUM_ROWS = 9
"""Rows of a task; Headline has nine kinds of questions."""

CHOICES = {
    "MQP": ("No", "Yes"),
    "PubMedQA": ("yes", "no", "maybe"),
    "USMLE": ("aspirin", "insulin", "warfarin", "digoxin"),
    "RCT": ("background", "objective", "method", "result", "conclusion"),
    "ChemProt": tuple(f"relation {number}" for number in range(13)),
    "FPB": ("negative", "neutral", "positive"),
    "FiQA_SA": ("negative", "neutral", "positive"),
    "Headline": ("No", "Yes"),
}
COMPANIES = ("Arvano", "Bellmont", "Cordray", "Dunleith", "Estrella", "Farrow")


def write(folder: Path) -> None:
    """Write everything under a folder."""
    articles = read_examples("biomedicine/articles.jsonl.zst")
    instructions = read_examples("general/instructions.jsonl.zst")
    news = [news_of(number) for number in range(60)]
    data = folder / "data"
    save(data / "pubmed/pubmed26n0001.xml.gz", gzip.compress(medline(articles).encode()))
    medicine = [{"text": f"{article['text']}\n\n{pairs_of(article)}"} for article in articles]
    save(data / "medicine/part-1/shard/1.jsonl", json_lines(medicine))
    save(data / "news/2023.jsonl.zst", zstandard.compress(json_lines(news)))
    fields = ("id", "system_prompt", "question", "response")
    table = pyarrow.table({name: [row[name] for row in instructions] for name in fields})
    packed = io.BytesIO()
    pyarrow.parquet.write_table(table, packed)
    save(data / "openorca/1M-GPT4-Augmented.parquet", packed.getvalue())
    generator = random.Random(5)
    makers: dict[str, Callable[[int], dict[str, Any]]] = {
        **{name: choice_maker(name, options, generator) for name, options in CHOICES.items()},
        "NER": entity_row,
        "ConvFinQA": number_row,
    }
    for name, make in makers.items():
        save(data / f"tasks/{name}/test.json", json_lines(make(number) for number in range(NUM_ROWS)))
    texts = [row["text"] for row in (*articles, *news)]
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    save_bpe(
        folder / "tiny",
        texts,
        vocab_size=1000,
        special_tokens=special,
        bos_token=special[0],
        eos_token=special[1],
    )
    save_llama(folder / "tiny", vocab_size=1000, seed=17, max_position_embeddings=2048)


def read_examples(path: str) -> list[dict[str, Any]]:
    """Rows of a bundled file."""
    lines = zstandard.decompress((EXAMPLES / path).read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


def medline(articles: Iterable[dict[str, Any]]) -> str:
    """The articles as a file of NLM's baseline."""
    records = [
        "<PubmedArticle><MedlineCitation><PMID>"
        f"{number}</PMID><Article><Journal><Title>Journal</Title></Journal>"
        f"<ArticleTitle>{escape(article['title'])}</ArticleTitle><Abstract>"
        f"<AbstractText>{escape(article['text'])}</AbstractText></Abstract></Article>"
        "</MedlineCitation></PubmedArticle>"
        for number, article in enumerate(articles, start=1)
    ]
    header = '<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'
    return header + "\n".join(records) + "\n</PubmedArticleSet>\n"


def pairs_of(article: dict[str, Any]) -> str:
    """Two pairs about an article, as a text of the augmented corpora holds them."""
    first, _, rest = article["text"].partition(". ")
    return (
        f"Question: Which title fits this text?\nAnswer: {article['title']}\n\n"
        f'Question: What follows "{first}"?\nAnswer: {rest.partition(". ")[0]}.'
    )


def news_of(number: int) -> dict[str, str]:
    """A short piece of invented news."""
    generator = random.Random(number)
    company, other = generator.sample(COMPANIES, 2)
    share, revenue = generator.randint(1, 20), generator.randint(100, 900)
    text = (
        f"Shares of {company} rose {share} percent on day {number} of the quarter. Revenue was {revenue} "
        f"million, because demand for its pumps grew. Therefore, the company raised its forecast. However, "
        f"{other} sold fewer pumps than a year before. In other words, {company} gained what {other} lost. "
        f"Analysts expect a dividend of {share} cents due to the higher profit of {company}."
    )
    return {"date": f"2023-01-{1 + number % 28:02}", "title": f"{company} raises its forecast", "text": text}


def choice_maker(
    name: str, options: tuple[str, ...], generator: random.Random
) -> Callable[[int], dict[str, Any]]:
    """A function from a row's number to a row with options."""

    def make(number: int) -> dict[str, Any]:
        row = {"id": number, "input": f"{name}, case {number}: which of them is right?\nAnswer:"}
        row |= {"options": list(options), "gold_index": generator.randrange(len(options))}
        return row | {"class_id": number % 9} if name == "Headline" else row

    return make


def entity_row(number: int) -> dict[str, Any]:
    """A row of NER."""
    company = COMPANIES[number % len(COMPANIES)]
    prompt = f"The lender is {company} Bank of Oslo.\nName each entity and its kind:"
    return {"id": number, "input": prompt, "label": f" {company} Bank (ORG), Oslo (LOC)"}


def number_row(number: int) -> dict[str, Any]:
    """A row of ConvFinQA."""
    prompt = f"Revenue was {number + 100} in 2021 and {number + 110} in 2022.\nWhat was the change?\n"
    return {"id": number, "input": prompt, "label": ["10.0"]}


def json_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def save(path: Path, content: bytes) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.reproduce.make_data FOLDER")
    write(Path(sys.argv[1]))
