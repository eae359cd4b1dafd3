"""HTML pages with known main text, made of this project's own texts.

Each page has its own kind and seed: an article, news, documentation, a forum thread, a filing, an
encyclopedia, a blog with comments, a paper with formulas, or a story in one of ten languages and their
encodings. Paragraphs of news, blogs and filings may be <div> or lines between <br>. Around the text stand
navigation, cookie banners, related links, shares, newsletters, advertisements and footers. These, bylines,
and comments below an article are no part of the known text. Posts of a thread are.
"""

from __future__ import annotations

import functools
import html
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.readers.pdf_files import paragraphs
from benchmarks.readers.quality import Made

PASSAGES = Path(__file__).parents[1] / "verification" / "passages.jsonl"
TEXTS = json.loads(Path(__file__).with_name("html_texts.json").read_text(encoding="utf-8"))
KINDS = (
    *("article", "news", "documentation", "forum", "language"),
    *("filing", "encyclopedia", "blog", "paper", "language"),
)
NAV = ("Home", "News", "Sport", "Health", "Business", "Science", "Archive", "About us", "Contact", "Sign in")
RELATED = (
    "Ten photos of the storm that closed the harbour",
    "What the new tax means for you",
    "Why the old bakery had to move",
    "Five walks for a rainy weekend",
    "The singer who never left town",
)
COMMENTS = (
    "Great piece, thanks for writing this up!",
    "I was there and it did not happen like that at all.",
    "Does anybody know whether they ever found the second key?",
)
COOKIE = "We value your privacy. We and our partners store cookies on your device to measure our audience."
TABLES = (
    (("Drug", "Dose", "Route"), ("aspirin", "100 mg", "oral"), ("heparin", "5,000 IU", "s.c.")),
    (("Quarter", "Revenue", "Margin"), ("Q1", "$418.2", "12.4%"), ("Q2", "$(17.9)", "−3.1%")),
    (("Option", "Default", "Meaning"), ("--jobs", "4", "workers"), ("--dry-run", "off", "change nothing")),
)
LISTS = (
    (
        "Wash your hands before each dose.",
        "Keep the bottle below 25 degrees.",
        "Call the ward if fever returns.",
    ),
    ("Open the lid slowly.", "Wait until the light turns green.", "Pour the water away and dry the pot."),
)
CODE = ("from store import open_store\n\nwith open_store('a.db') as db:\n    print(db.get('key'))",)
CODE_WORDS = "store sync serve merge watch"
SCRIPTS = (
    (
        "The count fell from 10<sup>6</sup> to 10<sup>-2</sup> cells.",
        "The count fell from 10^6 to 10^-2 cells.",
    ),
    ("Give H<sub>2</sub>O and CO<sub>2</sub> freely.", "Give H2O and CO2 freely."),
    ("The area was 3 cm<sup>2</sup> in all cases.", "The area was 3 cm^2 in all cases."),
)
FORMULAS = (
    (
        "A pressure of <math><mfrac><mn>140</mn><mn>72</mn></mfrac></math> was seen in most of them.",
        "A pressure of 140/72 was seen in most of them.",
    ),
    (
        "A term of <math><msup><mi>x</mi><mn>2</mn></msup></math> was added to the model.",
        "A term of x^2 was added to the model.",
    ),
)


def files(first: int = 0, number: int = 50) -> Iterator[Made]:
    """Yield pages, the same ones each time."""
    for seed in range(first, first + number):
        yield _Page(seed).made()


@functools.cache
def passages() -> dict[str, list[str]]:
    """Return passages by register."""
    found: dict[str, list[str]] = {}
    for line in PASSAGES.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "text" in row:
            found.setdefault(row["register"], []).append(row["text"])
    return found


@functools.cache
def wards() -> tuple[str, ...]:
    """Return paragraphs of the example texts."""
    return tuple(paragraphs())


class _Page:
    """A page in the making: HTML of its main text, and the text that is known."""

    def __init__(self, seed: int):
        self.rng = random.Random(f"html {seed}")
        self.seed = seed
        self.kind = KINDS[seed % len(KINDS)]
        self.language = "en"
        self.body: list[str] = []
        self.known: list[str] = []
        self.features = {self.kind}
        self.encoding = "utf-8"
        self.nav: Sequence[str] = NAV
        self.cookie = COOKIE

    def made(self) -> Made:
        """Return the page."""
        page = getattr(self, f"_{self.kind}")()
        if self.kind in ("news", "blog", "filing"):
            form = ("p", "div", "br")[self.seed // len(KINDS) % 3]
            self.features.add(f"paragraphs: {form}")
            if form == "div":
                page = page.replace("<p>", "<div>").replace("</p>", "</div>")
            elif form == "br":
                page = page.replace("</p><p>", "<br><br>")
        head = f'<meta charset="{self.encoding}"><title>{html.escape(self.known[0])} | The Daily Tide</title>'
        extras = "<style>.nav{color:red}</style><script>var config = {'ads': true, \"id\": 17};</script>"
        page = f'<html lang="{self.language}"><head>{head}{extras}</head><body>{page}</body></html>'
        page = f"<!DOCTYPE html>\n{page}"
        data = page.encode(self.encoding, "xmlcharrefreplace")
        return Made(f"page {self.seed}", tuple(sorted(self.features)), data, "\n".join(self.known))

    def _article(self) -> str:
        self._heading("Notes from the wards", 1)
        self._story(self.rng.sample(wards(), 8), headings=True)
        if self.rng.random() < 0.7:
            self._list()
        if self.rng.random() < 0.7:
            self._table()
        inside = "".join(self.body)
        return (
            f"<header>{self._menu()}</header><main><article>{inside}</article></main>"
            f"<aside><h3>Read next</h3>{self._related()}</aside>{self._footer()}"
        )

    def _news(self) -> str:
        of = passages()
        texts = of["news"] + of["weather"] + of["sports"] + of["reports"]
        chosen = self.rng.sample(texts, 4)
        self._heading(chosen[0].split(". ")[0], 1)
        byline = (
            '<div class="byline">By <a href="/authors/kolm">Ana Kolm</a> <time>12 March 2024</time></div>'
        )
        self.body.append(byline + self._share())
        middle = self.rng.choice(["related", "newsletter", "advert"])
        for number, text in enumerate(chosen):
            self._story([text])
            if number == 1:
                self.body.append(self._inset(middle))
        self.features.add(f"inset: {middle}")
        inside = "".join(self.body)
        return (
            f'{self._banner()}<div id="top" class="header">{self._menu()}</div>'
            f'<div class="content"><div class="story-body">{inside}</div>'
            f'<div class="sidebar"><h4>Most read</h4>{self._related()}</div></div>{self._footer()}'
        )

    def _documentation(self) -> str:
        of = passages()
        name = self.rng.choice(CODE_WORDS.split())
        self._heading(f"The command {name}", 1)
        self._story(
            [*self.rng.sample(of["software docs"] + of["manual"], 3), *of["support tickets"]], headings=True
        )
        self._code()
        self._table(TABLES[2])
        self._list()
        self._story(self.rng.sample(of["company policies"] + of["FAQ"], 1))
        tree = "".join(f'<li><a href="/docs/{each}">{each}</a></li>' for each in CODE_WORDS.split())
        inside = "".join(self.body)
        return (
            f'<div class="topbar">{self._menu()}<form><input placeholder="Search docs"></form></div>'
            f'<nav class="toc"><p>On this site</p><ul>{tree}</ul></nav>'
            f'<div class="breadcrumbs"><a href="/">Docs</a> » <a href="/docs">Commands</a> » {name}</div>'
            f'<div role="main" class="document">{inside}</div>'
            '<div class="pager"><a href="/docs/a">« Previous</a> <a href="/docs/b">Next »</a></div>'
            f'<p><a href="/edit">Edit this page</a></p>{self._footer()}'
        )

    def _forum(self) -> str:
        of = passages()
        texts = of["forum posts"] + of["letters"] + of["agriculture"] + of["dialogue"]
        self._heading("Strange noise from the pump, any ideas?", 1)
        title, self.body = self.body, []
        posts = []
        for number, text in enumerate(self.rng.sample(texts, min(len(texts), 5))):
            self._story([text])
            name, date = f"gardener{number}", f"#{number + 1}, 12 Mar 2024, 18:0{number}"
            posts.append(
                f'<div class="post" id="p{number}"><div class="user"><a href="/u/{number}">{name}</a><br>'
                f'Posts: {37 * number + 12}</div><div class="date">{date}</div>'
                f'<div class="message">{"".join(self.body)}</div><div class="buttons"><a href="#">Reply</a> '
                '<a href="#">Quote</a> <a href="#">Report</a></div></div>'
            )
            self.body = []
        pages = (
            '<div class="pagination"><a href="?p=1">1</a> <a href="?p=2">2</a> <a href="?p=3">Last</a></div>'
        )
        return (
            f"{self._menu()}<div class='thread'>{''.join(title)}{pages}{''.join(posts)}{pages}</div>"
            f"<div class='similar'><h3>Similar threads</h3>{self._related()}</div>{self._footer()}"
        )

    def _filing(self) -> str:
        of = passages()
        self._heading("Quarterly report of the company", 1)
        self._story(self.rng.sample(of["finance"] + of["contracts"] + of["law"], 3), headings=True)
        self._table(TABLES[1])
        self._story(
            self.rng.sample(of["textbooks"] + of["company policies"] + of["minutes"], 2), headings=True
        )
        inside = "".join(self.body).replace("<p>", '<p><font size="2">').replace("</p>", "</font></p>")
        menu = "".join(f'<td><a href="/f/{each}">{each}</a></td>' for each in NAV[:6])
        return (
            f'<table width="100%"><tr>{menu}</tr></table><hr><center></center>{inside}<hr>'
            f'<p align="center"><a href="#toc">Table of Contents</a></p>{self._footer()}'
        )

    def _encyclopedia(self) -> str:
        of = passages()
        chosen = self.rng.sample(of["biographies"] + of["history"] + of["travel"] + of["popular science"], 4)
        self._heading(" ".join(chosen[0].split()[:3]), 1)
        for number, text in enumerate(chosen):
            if number:
                self._heading(
                    f"Part {number} of the account", 2, after='<span>[<a href="/edit">edit</a>]</span>'
                )
            marked = re.sub(
                r"\. ", f'.<sup><a href="#n{number}">[{number + 1}]</a></sup> ', html.escape(text), count=1
            )
            self.body.append(f"<p>{marked}</p>")
            self.known.append(text)
        links = '<li><a href="/random">Random page</a></li><li><a href="/help">Help</a></li>'
        side = f'<div class="sidebar"><ul>{links}</ul></div>'
        notes = "".join(f"<li id='n{at}'>Archive of the county, sheet {at}.</li>" for at in range(3))
        inside = "".join(self.body)
        return (
            f'{side}<div id="content"><div id="bodyContent">{inside}</div>'
            f'<div class="reflist"><ol class="references">{notes}</ol></div>'
            f'<div class="navbox">{self._related()}</div></div>{self._footer()}'
        )

    def _blog(self) -> str:
        of = passages()
        texts = of["cooking"] + of["essays"] + of["reviews"] + of["games"]
        self._heading("What I learned this week", 1)
        self._story(self.rng.sample(texts, 4))
        self._list()
        inside = "".join(self.body)
        comments = "".join(
            f'<li class="comment"><cite>reader{at}</cite><p>{text}</p><a href="#">Reply</a></li>'
            for at, text in enumerate(COMMENTS)
        )
        return (
            f'<div id="wrapper"><div id="header"><a href="/">My quiet blog</a>{self._menu()}</div>'
            f'<div class="post hentry"><div class="entry-content">{inside}</div>{self._share()}'
            '<p class="tags">Tagged: <a href="/t/food">food</a>, <a href="/t/life">life</a></p></div>'
            f'<div id="comments"><h3>3 comments</h3><ol class="commentlist">{comments}</ol>'
            "<form><label>Leave a reply</label><textarea></textarea><button>Post</button></form></div>"
            f'<div id="sidebar"><h3>Recent posts</h3>{self._related()}</div></div>{self._footer()}'
        )

    def _paper(self) -> str:
        of = passages()
        texts = self.rng.sample(of["abstracts"], 2) + self.rng.sample(of["leaflets"] + of["textbooks"], 2)
        self._heading("Salt, pressure and the age of patients", 1)
        for number, text in enumerate(texts):
            self._heading(f"{number + 1}. {('Background', 'Methods', 'Results', 'Discussion')[number]}", 2)
            self._story([text])
            markup, known = (SCRIPTS + FORMULAS)[(self.seed // len(KINDS) + number) % 5]
            self.body.append(f"<p>{markup}</p>")
            self.known.append(known)
        self._table(TABLES[0])
        inside = "".join(self.body)
        return (
            f'<header role="banner">{self._menu()}</header><main><div class="tools"><a href="/pdf">PDF'
            f'</a> <a href="/cite">Cite</a></div><article>{inside}</article></main>{self._footer()}'
        )

    def _language(self) -> str:
        number = 2 * (self.seed // len(KINDS)) + (self.seed % len(KINDS) == len(KINDS) - 1)
        self.language = sorted(TEXTS)[number % len(TEXTS)]
        text = TEXTS[self.language]
        self.encoding, self.nav, self.cookie = text["encoding"], text["nav"], text["cookie"]
        self.features.add(f"language {self.language}")
        self._heading(text["title"], 1)
        for paragraph in text["text"]:
            self.body.append(f"<p>{html.escape(paragraph)}</p>")
            self.known.append(paragraph)
        menu = self._menu()
        inside = "".join(self.body)
        footer = "".join(f'<a href="/{at}">{each}</a> ' for at, each in enumerate(self.nav))
        return (
            f'{self._banner()}<header>{menu}</header><div class="content"><article>{inside}</article></div>'
            f'<div id="footer">{footer}</div>'
        )

    def _heading(self, text: str, level: int, after: str = "") -> None:
        self.body.append(f"<h{level}>{html.escape(text)}{after}</h{level}>")
        self.known.append(text)

    def _story(self, texts: Sequence[str], *, headings: bool = False) -> None:
        """Write texts as paragraphs of one to three sentences, some words as links or in bold."""
        for number, text in enumerate(texts):
            if headings and number:
                self._heading(f"Section {number}: {' '.join(text.split()[:2]).strip('.,;:')}", 2)
            sentences = re.split(r"(?<=[.!?]) ", text)
            while sentences:
                count = self.rng.randint(1, 3)
                piece, sentences = " ".join(sentences[:count]), sentences[count:]
                self.known.append(piece)
                words = [self._inline(html.escape(word)) for word in piece.split(" ")]
                self.body.append(f"<p>{' '.join(words)}</p>")

    def _inline(self, word: str) -> str:
        if self.rng.random() > 0.04 or not word.isalpha():
            return word
        return self.rng.choice([f'<a href="/wiki/{word}">{word}</a>', f"<b>{word}</b>", f"<em>{word}</em>"])

    def _list(self) -> None:
        self.features.add("list")
        items = self.rng.choice(LISTS)
        tag = self.rng.choice(["ul", "ol"])
        self.body.append(f"<{tag}>{''.join(f'<li>{item}</li>' for item in items)}</{tag}>")
        self.known += items

    def _table(self, table: Sequence[Sequence[str]] | None = None) -> None:
        self.features.add("table")
        head, *rows = table or self.rng.choice(TABLES)
        cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        self.body.append(f"<table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{cells}</table>")
        self.known += [" ".join(row) for row in (head, *rows)]

    def _code(self) -> None:
        self.body.append(f"<pre><code>{html.escape(CODE[0])}</code></pre>")
        self.known.append(CODE[0])
        self.features.add("code")

    def _menu(self) -> str:
        items = "".join(f'<li><a href="/s/{at}">{each}</a></li>' for at, each in enumerate(self.nav))
        return self.rng.choice([f"<nav><ul>{items}</ul></nav>", f'<div class="menu"><ul>{items}</ul></div>'])

    def _related(self) -> str:
        links = "".join(f'<li><a href="/a/{at}">{each}</a></li>' for at, each in enumerate(RELATED))
        return f'<ul class="related">{links}</ul>'

    def _banner(self) -> str:
        self.features.add("cookie banner")
        return f'<div id="cookie-banner" class="cookie-consent"><p>{self.cookie}</p><button>OK</button></div>'

    def _inset(self, what: str) -> str:
        if what == "related":
            return f'<div class="related-links"><p>Read more:</p>{self._related()}</div>'
        if what == "newsletter":
            return '<div class="newsletter"><p>Sign up for our newsletter</p><input type="email"></div>'
        return '<div class="advert"><span>Advertisement</span><a href="//ads">Buy two, pay one!</a></div>'

    def _share(self) -> str:
        links = "".join(
            f'<a href="/share/{each}">{each}</a> ' for each in ("Share", "Post", "Email", "Print")
        )
        return f'<div class="social-share">{links}</div>'

    def _footer(self) -> str:
        links = "".join(f'<li><a href="/{each}">{each}</a></li>' for each in ("Terms", "Privacy", "Imprint"))
        text = "<p>© 2024 The Daily Tide. All rights reserved.</p>"
        return self.rng.choice(
            [f"<footer><ul>{links}</ul>{text}</footer>", f'<div class="footer">{links}{text}</div>']
        )
