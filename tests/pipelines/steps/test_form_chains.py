from __future__ import annotations

import random

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.steps.form_chains import FormChains
from schemas.content_hash import digest
from schemas.corpus_config import ChainConfig
from schemas.records import Chain, Document

DOCUMENTS = [Document.of(name, f"The text of {name}.", source=name) for name in "abcdefg"]


def members_of(chain: Chain) -> str:
    return "".join(document.document_id for document in chain.documents)


def chains_are(documents: list[Document], config: ChainConfig, expected: list[str]) -> None:
    with TestPipeline(runner="FnApiRunner") as pipeline:
        chains = pipeline | beam.Create(documents) | FormChains(config)
        assert_that(chains | beam.Map(members_of), equal_to(expected))


@pytest.mark.parametrize("seed", range(3))
def test_the_same_documents_give_the_same_chains_in_any_order_of_arrival(seed: int) -> None:
    """Golden: a corpus is rebuilt byte by byte, and its stored generations depend on these chains."""
    documents = list(DOCUMENTS)
    random.Random(seed).shuffle(documents)
    chains_are(documents, ChainConfig(max_documents=3), ["gfc", "abe", "d"])


def test_chains_of_one_are_single_documents() -> None:
    chains_are(DOCUMENTS, ChainConfig(max_documents=1), list("abcdefg"))


def test_documents_are_cut_into_chains_in_the_order_of_their_hashes_inside_their_bucket() -> None:
    chains_are(DOCUMENTS, ChainConfig(max_documents=3, bucket_documents=3), ["gfc", "ab", "ed"])


def test_a_chain_is_named_by_its_contents() -> None:
    expected = digest(*sorted(document.content_hash for document in DOCUMENTS[:2]))
    with TestPipeline(runner="FnApiRunner") as pipeline:
        chains = pipeline | beam.Create(DOCUMENTS[:2]) | FormChains(ChainConfig())
        assert_that(chains | beam.Map(lambda chain: chain.chain_id), equal_to([expected]))


def test_no_documents_give_no_chains() -> None:
    chains_are([], ChainConfig(), [])
