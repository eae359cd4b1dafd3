"""Command that adds tokens: `tutelage tokenizer extend --tokenizer BASE --tokens FILE --output DIR`.

    base tokenizer + file of tokens ─► select addable tokens ─► tokenizer directory, loaded again and compared

New tokens are ordinary, not special: each stands for its exact text, in corpus and evaluation. Of several
matches the tokenizer takes the first, and of those the longest. The base tokenizer's ids stay.
`model.new_embeddings` adds rows for the new ids to a model (trainer/model/new_embeddings.py).
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from typing import Any

from plugins.commands.parser import Parser
from plugins.tokenizers import as_it_came, fingerprint, load_tokenizer
from schemas import limits
from schemas.errors import ConfigError, TutelageError, report

_SHOWN = 5
_SHOWN_CHARACTERS = 60
_LONG = f"longer than {limits.NEW_TOKEN_CHARACTERS} characters"
_BYTES = "that its byte-level decoder would read as bytes"
_OUTCOMES = (
    *("added", "empty", _LONG, "repeated in the file", "that the tokenizer has already", _BYTES),
    "around which it would read other text",
)
_AROUND = (("", ""), ("a ", " b"), ("a", "b"), ("(", ")"))
"""Text before and after a token, in the texts that test it."""


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = Parser(prog="tutelage tokenizer", description="Add tokens to a tokenizer.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    extend = actions.add_parser("extend", help="add ordinary tokens to a tokenizer")
    extend.add_argument("--tokenizer", required=True, metavar="BASE", help="directory or hub name")
    extend.add_argument(
        "--tokens", required=True, metavar="FILE",
        help="new tokens in UTF-8, one a line; a blank at either end of a line belongs to the token",
    )  # fmt: skip
    extend.add_argument("--output", required=True, metavar="DIR", help="a new directory for the tokenizer")
    extend.add_argument("--json", action="store_true", help="print each token's outcome as JSON")
    args = parser.parse_args(argv)
    try:
        found = extend_tokenizer(args.tokenizer, args.tokens, args.output)
    except TutelageError as error:
        return report(error)
    for outcome, tokens in found.items():
        if tokens and outcome != "added":
            print(f"left out: {_described(outcome, tokens)}", file=sys.stderr)
    added = found["added"]
    new = f"{len(added):,} new {'token' if len(added) == 1 else 'tokens'}"
    print(f"{args.output}: {args.tokenizer} and {new}: {_listed(added)}", file=sys.stderr)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    return 0


def extend_tokenizer(base: str, tokens_file: str, folder: str) -> dict[str, list[str]]:
    """Write a tokenizer with the tokens of a file, one a line, into a new or empty folder.

    Returns:
        Tokens in the file's order by outcome: "added", or the reason why they are left out.

    Raises:
        ConfigError: A file cannot be read or written, or the file has no token to add.
    """
    try:
        with open(tokens_file, encoding="utf-8-sig") as file:
            lines = [line.removesuffix("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--tokens {tokens_file!r} cannot be read: {error}.") from error
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise ConfigError(f"--output {folder!r} exists and is not empty; name a new directory.")
    tokenizer = load_tokenizer(base)
    found = _sorted(tokenizer, lines)
    if not found["added"]:
        reasons = "; ".join(_described(outcome, tokens) for outcome, tokens in found.items() if tokens)
        raise ConfigError(f"--tokens {tokens_file!r} has no token to add ({reasons or 'it is empty'}).")
    extended = _with_tokens(tokenizer, found["added"])
    parent = os.path.dirname(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".tokenizer-") as temporary:
            written = os.path.join(temporary, "tokenizer")
            as_it_came(extended).save_pretrained(written)
            _check_written(written, tokenizer, extended)
            if os.path.isdir(folder):
                os.rmdir(folder)
            os.rename(written, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder!r} cannot be written: {error}.") from error
    return found


def _sorted(tokenizer: Any, lines: Sequence[str]) -> dict[str, list[str]]:
    """Return lines by outcome."""
    found: dict[str, list[str]] = {outcome: [] for outcome in _OUTCOMES}
    added, empty, long, repeated, known, as_bytes, changing = found.values()
    vocabulary = tokenizer.get_vocab()
    candidates: dict[str, None] = {}
    for token in lines:
        if not token.strip():
            empty.append(token)
        elif len(token) > limits.NEW_TOKEN_CHARACTERS:
            long.append(token)
        elif token in candidates or token in known:
            repeated.append(token)
        elif token in vocabulary or _is_one(tokenizer, token):
            known.append(token)
        else:
            candidates[token] = None
    extended = _with_tokens(tokenizer, [*candidates])
    # Decoding must return the text: a normaliser may put a blank before the piece after a token.
    around = [pair for pair in _AROUND if _read_back(tokenizer, ["".join(pair)]) == ["".join(pair)]]
    texts = [[token.join(pair) for pair in around] for token in candidates]
    read = iter(_read_back(extended, [each for of_token in texts for each in of_token]))
    one = _ids(extended, [*candidates])
    letters = set(_byte_letters(tokenizer))
    for token, ids, of_token in zip(candidates, one, texts, strict=True):
        is_same = [next(read) for _ in of_token] == of_token
        is_one = ids == [extended.convert_tokens_to_ids(token)]
        if is_same and is_one:
            added.append(token)
        else:
            (as_bytes if not token.isascii() and letters.issuperset(token) else changing).append(token)
    return found


def _byte_letters(tokenizer: Any) -> list[str]:
    """Return the letters by which a byte-level tokenizer writes bytes; none for other tokenizers.

    Its decoder reads a token of only such letters as bytes, even an added token: `Sjögren` becomes six
    letters and a byte that is no UTF-8. One other character, such as a blank, prevents that.
    """
    from tokenizers import pre_tokenizers

    is_byte_level = '"ByteLevel"' in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    return list(pre_tokenizers.ByteLevel.alphabet()) if is_byte_level else []


def _is_one(tokenizer: Any, token: str) -> bool:
    (ids,) = _ids(tokenizer, [token])
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


def _read_back(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    decode = tokenizer.backend_tokenizer.decode_batch
    return list(decode(_ids(tokenizer, texts), skip_special_tokens=False))


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Encode by the backend: for few texts fastokens would take longer, to load a vocabulary."""
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [each.ids for each in encoded]


def _with_tokens(tokenizer: Any, tokens: Sequence[str]) -> Any:
    from tokenizers import AddedToken

    extended = copy.deepcopy(tokenizer)
    extended.backend_tokenizer.encode_special_tokens = True  # a copy forgets it
    # Not normalized: matched in the exact text, before lower-casing and the like.
    extended.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    return extended


def _check_written(folder: str, tokenizer: Any, extended: Any) -> None:
    again = load_tokenizer(folder)
    is_more = tokenizer.get_vocab().items() <= again.get_vocab().items()
    if not is_more or fingerprint(again) != fingerprint(extended):
        raise ConfigError(
            f"tokenizer {tokenizer.name_or_path!r} cannot be extended: the files of its save_pretrained give "
            "other ids when they are loaded. Write it with its own save_pretrained first, and extend that."
        )


def _described(outcome: str, tokens: Sequence[str]) -> str:
    cure = f"; with a blank before it it can be added: {_shown(f' {tokens[0]}')}" if outcome == _BYTES else ""
    return f"{len(tokens):,} {outcome}: {_listed(tokens)}{cure}"


def _listed(tokens: Sequence[str]) -> str:
    more = f" and {len(tokens) - _SHOWN:,} more" if len(tokens) > _SHOWN else ""
    return ", ".join(map(_shown, tokens[:_SHOWN])) + more


def _shown(token: str) -> str:
    """Return a token for a message, escaped if another token could look the same."""
    if len(token) > _SHOWN_CHARACTERS:
        return f"{token[:_SHOWN_CHARACTERS]!r}… of {len(token):,} characters"
    return repr(token) if unicodedata.is_normalized("NFC", token) else ascii(token)


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
