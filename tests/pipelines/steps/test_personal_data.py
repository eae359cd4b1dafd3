from __future__ import annotations

import pytest

from pipelines.steps.personal_data import mask_personal_data
from schemas.corpus_config import PersonalDataConfig

ALL = PersonalDataConfig(email=True, ip=True, phone=True)
AMERICAN = PersonalDataConfig(phone=True, phone_region="US")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+x@mail.example.org.", "Write to <EMAIL>."),
        ("<a_b@uni-köln.de>, (X@Y.COM)", "<<EMAIL>>, (<EMAIL>)"),
        ("mailto:a@b.co?subject=c", "mailto:<EMAIL>?subject=c"),
        ("name@host, a@b., @someone, x@y.1", "name@host, a@b., @someone, x@y.1"),
    ],
)
def test_addresses_of_people(text: str, masked: str) -> None:
    assert mask_personal_data(text, PersonalDataConfig(email=True))[0] == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("from 8.8.8.8, and 81.2.69.142:443", "from <IP>, and <IP>:443"),
        ("at 8.8.8.8.", "at <IP>."),
        ("2a00:1450:4001:81b::200e and [2001:4860:4860::8888]", "<IP> and [<IP>]"),
        ("2a00:1450:4001:081b:0000:0000:0000:200e", "<IP>"),
        # local, private and documentation addresses
        ("127.0.0.1 10.0.0.5 192.168.1.1 203.0.113.9", "127.0.0.1 10.0.0.5 192.168.1.1 203.0.113.9"),
        ("::1 fe80::1 fd00::2 2001:db8::3", "::1 fe80::1 fd00::2 2001:db8::3"),
        # no addresses
        ("256.1.1.1 1.2.3 1.2.3.4.5 v8.8.8.8a", "256.1.1.1 1.2.3 1.2.3.4.5 v8.8.8.8a"),
        ("12:30:45 std::add dead::beef a::b ratio 1:2:3", "12:30:45 std::add dead::beef a::b ratio 1:2:3"),
    ],
)
def test_addresses_of_machines(text: str, masked: str) -> None:
    assert mask_personal_data(text, PersonalDataConfig(ip=True))[0] == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Call +44 20 7031 3000 or +1 (650) 253-0000.", "Call <PHONE> or <PHONE>."),
        ("one: +49 30 901820\ntwo: +33 1 42 68 53 00", "one: <PHONE>\ntwo: <PHONE>"),
        ("(650) 253-0000", "(650) 253-0000"),  # no region, no country code
        ("+999 12345678, 1234567, 2013 2014 2015", "+999 12345678, 1234567, 2013 2014 2015"),
        ("doi:10.1000/182, PMID 12345678, 3.14159265", "doi:10.1000/182, PMID 12345678, 3.14159265"),
    ],
)
def test_phone_numbers(text: str, masked: str) -> None:
    assert mask_personal_data(text, PersonalDataConfig(phone=True))[0] == masked


def test_a_region_finds_numbers_as_they_are_dialled_there() -> None:
    assert mask_personal_data("ring (650) 253-0000", AMERICAN)[0] == "ring <PHONE>"


def test_each_kind_is_counted_and_masking_twice_changes_nothing_more() -> None:
    text = "a@b.org, c@d.org, 8.8.8.8, +44 20 7031 3000"
    masked, counts = mask_personal_data(text, ALL)
    assert (masked, counts) == (
        "<EMAIL>, <EMAIL>, <IP>, <PHONE>",
        {"email": 2, "ip": 1, "phone": 1},
    )
    assert mask_personal_data(masked, ALL) == (masked, {})


def test_nothing_is_masked_unless_asked_for() -> None:
    text = "a@b.org 8.8.8.8 +44 20 7031 3000"
    assert mask_personal_data(text, PersonalDataConfig()) == (text, {})


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["a", "a.", "1.", ":", "1:", "a@", "@", "a@a.", "1 ", "+1", "("])
def test_long_runs_are_searched_in_little_time(piece: str) -> None:
    mask_personal_data(piece * 20_000, AMERICAN.model_copy(update={"email": True, "ip": True}))
