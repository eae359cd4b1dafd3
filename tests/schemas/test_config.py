"""YAML to validated configuration: every message names the file, the key, the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest

from schemas.config import Section, load_config, validate
from schemas.errors import ConfigError


class Leaf(Section):
    uri: str
    weight: float = 1.0


class Branch(Section):
    leaves: tuple[Leaf, ...] = ()
    uri: str = ""


class Tree(Section):
    name: str
    seed: int = 17
    size: int | None = None
    batch: int | str = "auto"
    main: Leaf | None = None
    branches: dict[str, Branch] = pydantic.Field(default_factory=dict)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tree]:
    """Load a text as `tree.yaml` with overrides."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str) -> Tree:
        Path("tree.yaml").write_text(text, encoding="utf-8")
        return load_config(Tree, "tree.yaml", overrides)

    return load_text


def message(load: Callable[..., Tree], text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return str(caught.value)


TREE = "name: oak\nbranches:\n  low:\n    leaves:\n      - uri: a\n      - uri: b\n"


def test_a_file_becomes_its_configuration(load: Callable[..., Tree]) -> None:
    assert load(TREE) == Tree(name="oak", branches={"low": Branch(leaves=(Leaf(uri="a"), Leaf(uri="b")))})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Tree, tmp_path / "none.yaml")
    assert str(caught.value) == (f"{tmp_path}/none.yaml: no such file. Name a YAML configuration.")


def test_a_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: \[Errno 21\] Is a directory"):
        load_config(Tree, tmp_path)


def test_bytes_that_are_no_text_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"tree\.yaml: cannot be read: 'utf-8' codec"):
        load_config(Tree, path)


@pytest.mark.parametrize("text", ["name: [", "name: oak\n  seed: 3", "a: *nowhere", "a: &x [*x]", "x: \x01"])
def test_what_is_not_yaml_is_refused(load: Callable[..., Tree], text: str) -> None:
    assert message(load, text).startswith("tree.yaml: is not valid YAML: ")


def test_a_key_given_twice_is_refused(load: Callable[..., Tree]) -> None:
    assert "found duplicate key name" in message(load, "name: oak\nname: elm")


def test_no_object_is_made_of_a_python_tag(load: Callable[..., Tree], tmp_path: Path) -> None:
    text = f"name: !!python/object/apply:os.mkdir ['{tmp_path}/made']"
    assert "could not determine a constructor" in message(load, text)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["- a\n- b", "[]", "oak", "3", "false", "2024-99-99"])
def test_only_a_mapping_may_stand_at_the_top(load: Callable[..., Tree], text: str) -> None:
    assert message(load, text) == "tree.yaml: holds a list or a bare value; expected a mapping of keys."


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_an_empty_file_is_an_empty_mapping(load: Callable[..., Tree], text: str) -> None:
    assert message(load, text) == "tree.yaml: key 'name' is missing."
    assert load(text, "name=oak") == Tree(name="oak")


def test_an_unknown_key_gets_a_suggestion_and_the_list_of_keys(load: Callable[..., Tree]) -> None:
    assert message(load, "name: oak\nsed: 3") == (
        "tree.yaml: key 'sed' is unknown. Did you mean 'seed'? "
        "Available: batch, branches, main, name, seed, size."
    )


def test_an_unknown_key_unlike_any_other_gets_no_suggestion(load: Callable[..., Tree]) -> None:
    assert message(load, "name: oak\nquux: 3") == (
        "tree.yaml: key 'quux' is unknown. Available: batch, branches, main, name, seed, size."
    )


def test_an_unknown_key_in_a_list_item_is_named_by_its_place(load: Callable[..., Tree]) -> None:
    text = "name: oak\nbranches: {low: {leaves: [{uri: a}, {uri: b, wight: 2}]}}"
    assert message(load, text) == (
        "tree.yaml: key 'branches.low.leaves.1.wight' is unknown. Did you mean 'weight'? "
        "Available: uri, weight."
    )


def test_a_name_in_a_mapping_that_equals_a_key_does_not_mislead_the_suggestion(
    load: Callable[..., Tree],
) -> None:
    for name in ("leaves", "uri"):
        assert message(load, f"name: oak\nbranches: {{{name}: {{leafs: []}}}}") == (
            f"tree.yaml: key 'branches.{name}.leafs' is unknown. Did you mean 'leaves'? "
            "Available: leaves, uri."
        )


def test_an_unknown_key_in_an_optional_section_gets_its_suggestion(load: Callable[..., Tree]) -> None:
    assert message(load, "name: oak\nmain: {uri: a, wieght: 2}") == (
        "tree.yaml: key 'main.wieght' is unknown. Did you mean 'weight'? Available: uri, weight."
    )


def test_a_missing_key_in_a_list_item_is_named_once(load: Callable[..., Tree]) -> None:
    assert message(load, "name: oak\nbranches: {low: {leaves: [{weight: 2}]}}") == (
        "tree.yaml: key 'branches.low.leaves.0.uri' is missing."
    )


def test_all_refused_keys_are_told_at_once(load: Callable[..., Tree]) -> None:
    assert message(load, "seed: many\nnme: oak").splitlines() == [
        "tree.yaml: key 'name' is missing.",
        "tree.yaml: seed is 'many': input should be a valid integer, unable to parse string as an integer.",
        "tree.yaml: key 'nme' is unknown. Did you mean 'name'? "
        "Available: batch, branches, main, name, seed, size.",
    ]


def test_a_wrong_type_is_shown_with_what_was_found(load: Callable[..., Tree]) -> None:
    assert message(load, "name: [oak]") == "tree.yaml: name is ['oak']: input should be a valid string."


def test_a_key_of_several_types_is_named_without_them(load: Callable[..., Tree]) -> None:
    assert [line.split(":")[1] for line in message(load, "name: oak\nbatch: [1]").splitlines()] == [
        " batch is [1]"
    ] * 2


def test_a_key_that_is_a_number_is_refused(load: Callable[..., Tree]) -> None:
    assert message(load, "name: oak\n1: 2") == "tree.yaml: 1 is 1: keys should be strings."


def test_exponents_are_numbers_and_dates_are_text(load: Callable[..., Tree]) -> None:
    tree = load("name: 2024-01-31\nmain: {uri: a, weight: 1e-5}")
    assert (tree.name, tree.main) == ("2024-01-31", Leaf(uri="a", weight=0.00001))


def test_overrides_win_over_the_file(load: Callable[..., Tree]) -> None:
    tree = load(TREE, "name=elm", "seed=3", "main.uri=x=y", "size=null")
    assert (tree.name, tree.seed, tree.main, tree.size) == ("elm", 3, Leaf(uri="x=y"), None)


def test_an_override_reaches_into_a_list(load: Callable[..., Tree]) -> None:
    tree = load(TREE, "branches.low.leaves.1.uri=c", "branches.low.leaves[0].weight=2")
    assert tree.branches["low"].leaves == (Leaf(uri="a", weight=2), Leaf(uri="c"))


def test_an_override_takes_the_place_of_a_whole_section(load: Callable[..., Tree]) -> None:
    assert load(TREE, "branches={}").branches == {}
    assert load(TREE, "branches.low.leaves=[{uri: c}]").branches["low"].leaves == (Leaf(uri="c"),)


@pytest.mark.parametrize("override", ["seed", "=3"])
def test_an_override_without_key_or_value_is_refused(load: Callable[..., Tree], override: str) -> None:
    assert message(load, TREE, override) == (
        f"{override!r} is not an override; expected key=value, such as seed=3."
    )


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("seed=[1", "while parsing a flow sequence"),
        ("branches.low.leaves.7.uri=c", "list index out of range"),
        ("branches.low.leaves.x.uri=c", "Index 'x' (str) is not an int"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(load: Callable[..., Tree], override: str, why: str) -> None:
    key, _, _ = override.partition("=")
    assert message(load, TREE, override) == f"{key}=… cannot be applied: {why}."


def test_an_override_of_an_unknown_key_gets_a_suggestion(load: Callable[..., Tree]) -> None:
    assert message(load, TREE, "sed=3").startswith("tree.yaml: key 'sed' is unknown. Did you mean 'seed'?")


def test_variables_are_allowed_and_interpolated_after_overrides(load: Callable[..., Tree]) -> None:
    text = "variables: {root: data}\nname: ${variables.root}/oak\nmain: {uri: '${name}.txt'}"
    tree = load(text, "variables.root=gs://b")
    assert (tree.name, tree.main) == ("gs://b/oak", Leaf(uri="gs://b/oak.txt"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: ${variables.root}", "tree.yaml: name: Interpolation key 'variables.root' not found."),
        ("name: oak\nmain: {uri: '${nme}'}", "tree.yaml: main.uri: Interpolation key 'nme' not found."),
        (
            "name: ${oc.env:TUTELAGE_NOT_SET}",
            "tree.yaml: name: KeyError raised while resolving interpolation: "
            "\"Environment variable 'TUTELAGE_NOT_SET' not found\".",
        ),
    ],
)
def test_what_cannot_be_interpolated_is_named(load: Callable[..., Tree], text: str, expected: str) -> None:
    assert message(load, text) == expected


def test_an_unfinished_interpolation_is_refused(load: Callable[..., Tree]) -> None:
    assert "no viable alternative at input '${'" in message(load, "name: ${")


def test_validate_names_what_holds_the_values() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Leaf, {"uri": "a", "weigth": 2}, name="synthesis.options")
    assert str(caught.value) == (
        "synthesis.options: key 'weigth' is unknown. Did you mean 'weight'? Available: uri, weight."
    )


def test_validate_says_what_was_found_in_the_place_of_a_mapping() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Leaf, [1], name="x.json")
    assert str(caught.value) == ("x.json: is [1]: input should be a mapping of keys or instance of Leaf.")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Leaf(uri="a").uri = "b"  # type: ignore[misc]
