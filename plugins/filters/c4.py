"""C4's rules: drop lines that are no prose, and refuse pages with little prose.

C4's list of bad words is left out, because it refuses many texts on medicine and law; repeated spans of three
sentences are left to dedup. The phrases about JavaScript, policies and citations are English; texts in other
languages have none of them. Lines and sentences end as in their script. Thai and Lao have no marks for that:
each piece between spaces is a sentence.

Source: Raffel et al. 2020, JMLR 21(140), section 2.2. The first version of the paper has 3 words and 5
sentences, the published one 5 words and 3 sentences. The ellipsis is from its code.
"""

from __future__ import annotations

import re

import pydantic

from plugins.filters.base import Filter, JudgingOptions, Verdict
from plugins.filters.boilerplate import is_about_policy, is_placeholder
from plugins.filters.text_lines import ends_as_prose, num_sentences
from plugins.words import has_words
from schemas.records import Document

_CITATION = re.compile(r"[ \t]?\[(?:\d+|edit|citation needed)\]")
_ELLIPSES = ("...", "…")


class C4Options(JudgingOptions):
    """The rules; false, or 0 for a number, removes one.

    Attributes:
        curly_bracket: Refuse pages with a curly bracket: code rather than language.
        lorem_ipsum: Refuse pages with placeholder text.
        citations: Remove citation markers: "[1]", "[edit]", "[citation needed]".
        terminal_punctuation: Drop lines that do not end as a sentence does, or end in an ellipsis.
        min_line_words: Drop lines of fewer words.
        javascript: Drop lines that mention JavaScript.
        policy: Drop lines about cookies, privacy and terms of use.
        min_sentences: Refuse pages with fewer sentences left.
    """

    curly_bracket: bool = True
    lorem_ipsum: bool = True
    citations: bool = True
    terminal_punctuation: bool = True
    min_line_words: int = pydantic.Field(default=5, ge=0)
    javascript: bool = True
    policy: bool = True
    min_sentences: int = pydantic.Field(default=3, ge=0)


class C4Filter(Filter[C4Options]):
    """Keep the prose of a page; refuse a page with little prose. Its phrases are English."""

    name = "c4"
    Options = C4Options

    def __call__(self, document: Document) -> Document | Verdict:
        options = self.options
        if options.curly_bracket and (num_brackets := document.text.count("{")):
            return Verdict(rule="curly_bracket", value=num_brackets, limit="at most 0")
        lower = document.text.lower()
        if options.lorem_ipsum and is_placeholder(lower):
            return Verdict(rule="lorem_ipsum", value=lower.count("lorem ipsum"), limit="at most 0")
        text = document.text
        if options.citations and "[" in text:
            text = _CITATION.sub("", text)
            lower = text.lower()
        lines = [line.strip() for line in text.split("\n")]
        kept = [line for line in lines if not line or self._is_prose(line)]
        if (options.javascript and "javascript" in lower) or (options.policy and is_about_policy(lower)):
            kept = [line for line in kept if not self._is_boilerplate(line.lower())]
        found = 0
        for line in kept:
            if found >= options.min_sentences:
                break
            found += num_sentences(line)
        if found < options.min_sentences:
            limit = f"at least {options.min_sentences}"
            return Verdict(rule="min_sentences", value=found, limit=limit)
        if len(kept) == len(lines) and text == document.text:
            return document
        return document.changed(re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip())

    def _is_prose(self, line: str) -> bool:
        is_ended = ends_as_prose(line) and not line.endswith(_ELLIPSES)
        return (is_ended or not self.options.terminal_punctuation) and has_words(
            line, self.options.min_line_words
        )

    def _is_boilerplate(self, lower: str) -> bool:
        options = self.options
        return (options.javascript and "javascript" in lower) or (options.policy and is_about_policy(lower))
