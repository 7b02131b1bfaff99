"""The taxonomy's rules, and its digest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.contract import decode, encode, read
from tunelane_serving.errors import ContractError, DigestMismatch
from tunelane_serving.taxonomy import Label, Taxonomy

_GOLDEN = Path(__file__).parent / "golden" / "taxonomy_v1.json"
_GOLDEN_DIGEST = "bd7bf3cfbd4500a3ca852313fc8997e6b69c5fe4a7c55ead937eb41d006f3966"

_NAMES = st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=8, unique=True)


def test_the_golden_taxonomy_keeps_its_meaning_and_its_digest():
    taxonomy = read(_GOLDEN, Taxonomy)
    assert taxonomy.names == ("negative", "positive", "delighted")
    assert taxonomy.labels[2].parent == "positive"
    assert taxonomy.name_by_spelling["schlecht"] == "negative"
    assert taxonomy.digest == _GOLDEN_DIGEST, "packages in production carry this digest"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((), "at least two labels"),
        ((Label("a"),), "at least two labels"),
        ((Label("a"), Label("")), r"labels\[1\]: a name or alias is empty"),
        ((Label("a"), Label(" \t")), r"labels\[1\]: a name or alias is empty"),
        ((Label("a", aliases=("",)), Label("b")), r"labels\[0\]: a name or alias is empty"),
        ((Label("a"), Label("b"), Label("a")), r"labels\[2\]: 'a' stands twice"),
        ((Label("a"), Label("b", aliases=("a",))), r"labels\[1\]: 'a' stands twice"),
        ((Label("a", aliases=("b",)), Label("b")), r"labels\[1\]: 'b' stands twice"),
        ((Label("a", aliases=("x",)), Label("b", aliases=("x",))), r"labels\[1\]: 'x' stands twice"),
        ((Label("a"), Label("b", parent="c")), r"labels\[1\]\.parent: 'c' is not a label"),
        ((Label("a", aliases=("x",)), Label("b", parent="x")), r"labels\[1\]\.parent: 'x' is not a label"),
        ((Label("a"), Label("b", parent="b")), "'b' is its own ancestor"),
        ((Label("a", parent="b"), Label("b", parent="a")), "'a' is its own ancestor"),
        ((Label("leaf", parent="a"), Label("a", parent="b"), Label("b", parent="a")), "'a' is its own ancestor"),
    ],
)
def test_a_taxonomy_that_breaks_a_rule_is_refused_in_code_and_in_a_file(labels, words):
    with pytest.raises(ValueError, match=words):
        Taxonomy(labels)
    content = b'{"labels": [%s], "version": 1}' % b", ".join(encode(label) for label in labels)
    with pytest.raises(ContractError, match=words):
        decode(content, Taxonomy, "taxonomy.json")


def test_a_tree_of_labels_is_allowed():
    labels = (
        Label("leaf", parent="branch"),
        Label("branch", parent="root"),
        Label("root"),
        Label("twig", parent="branch"),
    )
    assert Taxonomy(labels).names == ("leaf", "branch", "root", "twig")


@given(_NAMES)
def test_a_taxonomy_survives_being_written(names):
    taxonomy = Taxonomy(tuple(Label(name) for name in names))
    again = decode(encode(taxonomy), Taxonomy, "taxonomy.json")
    assert again == taxonomy
    assert again.digest == taxonomy.digest
    assert again.name_by_spelling == {name: name for name in names}


@given(_NAMES, st.randoms())
def test_the_digest_tells_order_apart(names, random):
    shuffled = random.sample(names, len(names))
    one, other = (Taxonomy(tuple(map(Label, order))).digest for order in (names, shuffled))
    assert (one == other) == (names == shuffled)


@pytest.mark.parametrize(
    "changed", [Label("a", description="x"), Label("a", aliases=("x",)), Label("a", parent="b"), Label("x")]
)
def test_the_digest_tells_every_field_apart(changed):
    assert Taxonomy((changed, Label("b"))).digest != Taxonomy((Label("a"), Label("b"))).digest


def test_different_taxonomies_are_stopped_with_both_sides_and_digests():
    one, other = Taxonomy((Label("a"), Label("b"))), Taxonomy((Label("b"), Label("a")))
    one.require_same(one.digest, mine="dataset", other="model")
    with pytest.raises(DigestMismatch) as caught:
        one.require_same(other.digest, mine="the dataset", other="the champion")
    for word in ("the dataset", "the champion", one.digest[:12], other.digest[:12]):
        assert word in str(caught.value)
