# ruff: noqa: E501  (markup as the software writes it)
"""Pages in the markup of well-known software: phpBB, XenForo, Discourse, MediaWiki, layout by tables.

They complete `html_files.py`, whose pages have classes of no software. Known are titles and texts of posts;
no authors, dates and buttons, no marks of notes, no links to edit, no list of references, no menu.
"""

from __future__ import annotations

import html
import random
from collections.abc import Callable, Iterator

from benchmarks.readers.html_files import NAV, RELATED, TABLES, passages
from benchmarks.readers.quality import Made

_FOOT = (
    '<div id="footer"><a href="/terms">Terms</a> <a href="/privacy">Privacy</a> © 2024 The Daily Tide.</div>'
)
_QUESTION = "Strange noise from the pump, any ideas?"


def files(first: int = 0, number: int = 15) -> Iterator[Made]:
    """Yield pages, the same ones each time."""
    for seed in range(first, first + number):
        name, make = _SITES[seed % len(_SITES)]
        rng = random.Random(f"{name} {seed}")
        body, known = make(rng)
        page = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{known[0]} - The Daily Tide</title></head>'
        yield Made(f"{name} {seed}", (name,), f"{page}<body>{body}</body></html>".encode(), "\n".join(known))


def _posts(rng: random.Random) -> list[str]:
    of = passages()
    return rng.sample(of["forum posts"] + of["letters"] + of["agriculture"] + of["dialogue"], 4)


def _menu(tag: str = "li") -> str:
    return "".join(f'<{tag}><a href="/{each}">{each}</a></{tag}>' for each in NAV)


def _phpbb(rng: random.Random) -> tuple[str, list[str]]:
    posts = _posts(rng)
    shown = "".join(
        f'<div id="p{at}" class="post has-profile bg{at % 2 + 1}"><div class="inner"><dl class="postprofile">'
        f'<dt class="no-avatar"><a href="/u/{at}" class="username">gardener{at}</a></dt><dd class="profile-rank">'
        f'Member</dd><dd class="profile-posts"><strong>Posts:</strong> <a href="/s">{37 * at + 12}</a></dd>'
        '<dd class="profile-joined"><strong>Joined:</strong> Mon Mar 12, 2018 6:12 pm</dd></dl>'
        f'<div class="postbody"><div id="post_content{at}"><ul class="post-buttons"><li><a href="/q">Quote</a>'
        f'</li></ul><p class="author"><span class="responsive-hide">by <strong><a href="/u/{at}" class="username">'
        f"gardener{at}</a></strong> » </span><time>Tue Mar 12, 2024 6:0{at} pm</time></p>"
        f'<div class="content">{html.escape(post)}</div></div></div></div></div><hr class="divider">'
        for at, post in enumerate(posts)
    )
    bar = '<div class="action-bar"><a href="/r">Post Reply</a><div class="pagination">4 posts • Page 1 of 1</div></div>'
    body = (
        f'<div id="wrap"><div id="page-header"><div class="navbar"><ul class="linklist">{_menu()}</ul></div></div>'
        f'<div id="page-body"><h2 class="topic-title"><a href="/t">{_QUESTION}</a></h2>{bar}{shown}{bar}</div></div>'
    )
    return body + _FOOT, [_QUESTION, *posts]


def _xenforo(rng: random.Random) -> tuple[str, list[str]]:
    posts = _posts(rng)
    shown = "".join(
        '<article class="message message--post"><div class="message-inner"><div class="message-cell '
        f'message-cell--user"><section class="message-user"><h4 class="message-name"><a class="username" href="/u">'
        f'gardener{at}</a></h4><h5 class="userTitle">Well-known member</h5><div class="message-userExtras"><dl '
        f'class="pairs"><dt>Messages</dt><dd>{37 * at + 12}</dd></dl></div></section></div><div class="message-cell '
        'message-cell--main"><div class="message-main"><header class="message-attribution"><ul><li><a href="/p">'
        f'<time>Mar 12, 2024</time></a></li></ul><ul><li><a href="/p">#{at + 1}</a></li></ul></header><div '
        f'class="message-content"><article class="message-body"><div class="bbWrapper">{html.escape(post)}</div>'
        '</article></div><footer class="message-footer"><a href="/l">Like</a> <a href="/r">Reply</a></footer></div>'
        "</div></div></article>"
        for at, post in enumerate(posts)
    )
    body = (
        f'<div class="p-pageWrapper"><nav class="p-nav"><ul>{_menu()}</ul></nav><div class="p-body"><div '
        f'class="p-body-header"><div class="p-title"><h1 class="p-title-value">{_QUESTION}</h1></div><div '
        'class="p-description"><ul><li><a class="username" href="/u">gardener0</a></li><li><time>Mar 12, 2024</time>'
        f'</li></ul></div></div><div class="p-body-content"><div class="block-container">{shown}</div></div></div></div>'
    )
    return body + _FOOT, [_QUESTION, *posts]


def _discourse(rng: random.Random) -> tuple[str, list[str]]:
    posts = _posts(rng)
    shown = "".join(
        f'<div id="post_{at}" class="topic-body crawler-post"><div class="crawler-post-meta"><span class="creator">'
        f'<a href="/u/{at}"><span itemprop="name">gardener{at}</span></a></span><span class="crawler-post-infos">'
        f'<time class="post-time">March 12, 2024, 6:0{at}pm</time><span itemprop="position">{at + 1}</span></span></div>'
        f'<div class="post" itemprop="text"><p>{html.escape(post)}</p></div><div class="crawler-linkback-list"></div>'
        '<div itemprop="interactionStatistic"><span class="post-likes">3 Likes</span></div></div>'
        for at, post in enumerate(posts)
    )
    related = "".join(
        f'<tr class="topic-list-item"><td><a href="/t">{each}</a></td></tr>' for each in RELATED
    )
    body = (
        f'<header><a href="/">The Daily Tide</a></header><div id="main-outlet" class="wrap"><div id="topic-title"><h1>'
        f'<a href="/t/pump">{_QUESTION}</a></h1></div><div>{shown}</div><div id="related-topics" class="more-topics__list">'
        f'<h3>Related topics</h3><table class="topic-list"><tbody>{related}</tbody></table></div></div>'
    )
    return body + _FOOT, [_QUESTION, *posts]


def _mediawiki(rng: random.Random) -> tuple[str, list[str]]:
    of = passages()
    texts = rng.sample(of["biographies"] + of["history"] + of["travel"] + of["popular science"], 4)
    known = [" ".join(texts[0].split()[:3])]
    shown = f'<h1 id="firstHeading"><span class="mw-page-title-main">{html.escape(known[0])}</span></h1>'
    shown += '<div id="siteSub" class="noprint">From The Daily Tide, the free encyclopedia</div><div id="mw-content-text">'
    edit = '<span class="mw-editsection"><span class="mw-editsection-bracket">[</span><a href="/e">edit</a><span>]</span></span>'
    for at, text in enumerate(texts):
        mark = f'<sup id="r{at}" class="reference"><a href="#n{at}"><span>[</span>{at + 1}<span>]</span></a></sup>'
        if at:
            known.append(f"Part {at} of the account")
            shown += f'<h2><span class="mw-headline">{known[-1]}</span>{edit}</h2>'
        shown += f"<p>{html.escape(text).replace('. ', f'.{mark} ', 1)}</p>"
        known.append(text)
    notes = "".join(
        f'<li id="n{at}"><span class="mw-cite-backlink"><b><a href="#r{at}">^</a></b></span> <span class="'
        f'reference-text">Archive of the county, sheet {at}.</span></li>'
        for at in range(4)
    )
    shown += f'<h2><span class="mw-headline">References</span>{edit}</h2><div class="reflist"><ol class="references">{notes}'
    links = "".join(f'<li><a href="/w">{each}</a></li>' for each in RELATED)
    shown += f'</ol></div><div role="navigation" class="navbox"><ul>{links}</ul></div></div>'
    body = (
        f'<div id="mw-page-base"></div><div id="content" class="mw-body" role="main">{shown}<div id="catlinks" '
        'class="catlinks"><a href="/c">Categories</a>: <ul><li><a href="/c/p">People</a></li></ul></div></div>'
        f'<div id="mw-navigation"><ul>{_menu()}</ul></div>'
    )
    return body + _FOOT, [*known, "References"]


def _tables(rng: random.Random) -> tuple[str, list[str]]:
    of = passages()
    texts = rng.sample(of["finance"] + of["contracts"] + of["law"] + of["minutes"], 5)
    known = ["Quarterly report of the company"]
    shown = f"<p><b>{known[0]}</b></p>"
    for at, text in enumerate(texts):
        shown += f"<p><font size=2>{html.escape(text)}</font></p>"
        known.append(text)
        if at == 2:
            rows = (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in TABLES[1])
            shown += f"<table border=1>{''.join(rows)}</table>"
            known += [" ".join(row) for row in TABLES[1]]
    side = "<br>".join(f'<a href="/{each}">{each}</a>' for each in NAV[:5])
    body = (
        f"<table width=100%><tr><td colspan=2><table><tr>{_menu('td')}</tr></table></td></tr><tr><td width=150 valign=top>"
        f"{side}</td><td valign=top>{shown}</td></tr><tr><td colspan=2><font size=1>© 2024 The Daily Tide.</font></td></tr>"
        "</table>"
    )
    return body, known


_SITES: tuple[tuple[str, Callable[[random.Random], tuple[str, list[str]]]], ...] = (
    ("phpBB", _phpbb),
    ("XenForo", _xenforo),
    ("Discourse", _discourse),
    ("MediaWiki", _mediawiki),
    ("layout by tables", _tables),
)
