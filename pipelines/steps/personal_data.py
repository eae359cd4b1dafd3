"""Masking of personal data in a text by `<EMAIL>`, `<IP>` and `<PHONE>`.

| kind | found by | kept |
|---|---|---|
| e-mail addresses | their form; Unicode letters allowed | |
| IP addresses, v4 and v6 | `ipaddress` | local, private and reserved ones, which name no one |
| phone numbers | Google's libphonenumber | numbers that no country assigns |

Phone numbers are found in their international form (+44 20 7031 3000); with a region also in its national
form. A version number of four parts (8.8.4.4) looks like an address and is masked too.

Cost: a text is searched only if it holds the signs of the kind: `@`, dots or colons between digits, seven
digits near each other.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from schemas.corpus_config import PersonalDataConfig

EMAIL, IP, PHONE = "<EMAIL>", "<IP>", "<PHONE>"

# Bounded, and with a guard in front, so that a long run of letters is searched once.
_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,63}(?![\w-])"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*[0-9A-Fa-f:](?![\w:])")
_IPV6_IN_USE = ipaddress.ip_network("2000::/3")
_MAY_BE_PHONE = re.compile(r"(?:[+(\uff0b]\W{0,2})?(?:\d\W{0,3}){6,}\d")


def mask_personal_data(text: str, config: PersonalDataConfig) -> tuple[str, dict[str, int]]:
    """Mask the kinds that the configuration names.

    Returns:
        The text, and the number of masked data by kind (email, ip, phone), without zeros.
    """
    masked: dict[str, int] = {}
    if config.email and "@" in text:
        text, masked["email"] = _EMAIL.subn(EMAIL, text)
    if config.ip:
        text, masked["ip"] = _mask_addresses(text)
    if config.phone:
        text, masked["phone"] = _mask_phones(text, config.phone_region)
    return text, {kind: count for kind, count in masked.items() if count}


def _mask_addresses(text: str) -> tuple[str, int]:
    count = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal count
        if not _names_someone(found.group()):
            return found.group()
        count += 1
        return IP

    return _IPV6.sub(replace, _IPV4.sub(replace, text)), count


def _names_someone(candidate: str) -> bool:
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return address.is_global and (address.version == 4 or address in _IPV6_IN_USE)


def _mask_phones(text: str, region: str | None) -> tuple[str, int]:
    if not _MAY_BE_PHONE.search(text):
        return text, 0
    lines = text.split("\n")
    count = 0
    for index, line in enumerate(lines):
        if not _MAY_BE_PHONE.search(line):
            continue
        matches = list(_find_phones(line, region))
        count += len(matches)
        for match in reversed(matches):
            line = line[: match.start] + PHONE + line[match.end :]
        lines[index] = line
    return "\n".join(lines), count


def _find_phones(line: str, region: str | None) -> Any:
    import phonenumbers

    return phonenumbers.PhoneNumberMatcher(line, region, leniency=phonenumbers.Leniency.VALID, max_tries=1000)
