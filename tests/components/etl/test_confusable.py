import json
import math
import os
import random
import subprocess
import sys
import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_components.etl.confusable import ConfusablePair, confusable_pairs, words_of

TEXTS = {
    "billing": ["the invoice is wrong", "you charged my card twice", "the invoice came twice", "refund my card please"],
    "refund": ["please refund the invoice", "refund my card", "i want a refund", "the refund never came to my card"],
    "delivery": ["the parcel is late", "where is the courier", "the parcel box is torn", "a courier left the parcel"],
}


def rows_of(texts: dict[str, list[str]]) -> tuple[list[str], list[tuple[str, ...]]]:
    return [text for same in texts.values() for text in same], [(name,) for name in texts for _ in texts[name]]


def plain_similarity(texts: list[str], labels: list[tuple[str, ...]], first: str, second: str) -> float:
    """The documented formula by the plainest means."""
    bags = [set(words_of(text)) for text in texts]
    frequency = {word: sum(word in bag for bag in bags) for word in set().union(*bags)}

    def summed(name: str, other: str) -> dict[str, float]:
        total: dict[str, float] = {}
        for bag, row in zip(bags, labels, strict=True):
            if name in row and other not in row:
                weights = {word: math.log((1 + len(bags)) / (1 + frequency[word])) ** 3 for word in bag}
                length = math.sqrt(sum(weight**2 for weight in weights.values()))
                for word, weight in weights.items():
                    total[word] = total.get(word, 0) + (weight / length if length else 0)
        return total

    ours, theirs = summed(first, second), summed(second, first)
    lengths = math.sqrt(sum(value**2 for value in ours.values()) * sum(value**2 for value in theirs.values()))
    return sum(value * theirs.get(word, 0) for word, value in ours.items()) / lengths if lengths else 0.0


def test_labels_written_about_in_the_same_words_come_first() -> None:
    pairs = confusable_pairs(*rows_of(TEXTS))
    assert (pairs[0].first, pairs[0].second) == ("billing", "refund")
    assert {"card", "invoice"} < set(pairs[0].shared_words)
    assert pairs[0].similarity > 0.3
    assert all(pair.similarity < 0.15 for pair in pairs[1:])
    assert confusable_pairs(*rows_of(TEXTS), pairs=1) == pairs[:1]


def test_words_of_every_row_count_for_nothing() -> None:
    # "the" and "and" are in all rows; no list of stop words says so.
    texts = [f"the {word} and {word}s" for word in ("cat", "dog", "cow", "car", "bus", "tram")]
    assert confusable_pairs(texts, [("animal",)] * 3 + [("vehicle",)] * 3) == []


def test_two_labels_are_enough_and_one_is_not() -> None:
    texts = ["a fine film", "a bad film", "a fine plot", "a bad plot", "other words", "more words"]
    (pair,) = confusable_pairs(texts, [("neg",), ("pos",)] * 3)
    assert (pair.first, pair.second) == ("neg", "pos")
    assert 0 < pair.similarity <= 1
    assert confusable_pairs(texts, [("pos",)] * 6) == []
    assert confusable_pairs([], []) == []
    assert confusable_pairs(["", "!?"], [("a",), ("b",)]) == []


def test_labels_that_stand_together_are_not_confused_by_that() -> None:
    together = [f"my trip number {number}" for number in range(20)]
    apart = ["grateful for friends", "thankful for friends", "angry at traffic", "traffic jam again"]
    labels = [("joy", "travel")] * 20 + [("joy",)] * 2 + [("travel",)] * 2
    assert confusable_pairs([*together, *apart], labels) == []
    # Given one by one, the same rows make the two alike.
    assert confusable_pairs([*together, *apart], [(row[place % len(row)],) for place, row in enumerate(labels)])


def test_a_label_that_never_stands_without_the_other_is_not_compared_with_it() -> None:
    texts = [*(f"{word} letters" for word in ("read", "write", "spell")), "speaks in sentences", "tells letters"]
    labels = [("literacy", "reading")] * 3 + [("literacy",), ("speech",)]
    pairs = {(pair.first, pair.second) for pair in confusable_pairs(texts, labels)}
    assert ("literacy", "reading") not in pairs
    assert ("reading", "speech") in pairs


words = st.sampled_from(["parcel", "late", "card", "refund", "the", "blue", "invoice", "don't"])
some_rows = st.lists(
    st.tuples(
        st.lists(words, min_size=0, max_size=6).map(" ".join),
        st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    max_size=25,
)


@settings(max_examples=100)
@given(rows=some_rows, rng=st.randoms(use_true_random=False))
def test_pairs_are_as_the_formula_says_in_any_order_of_rows(
    rows: list[tuple[str, tuple[str, ...]]], rng: random.Random
) -> None:
    texts, labels = [text for text, _ in rows], [names for _, names in rows]
    found = confusable_pairs(texts, labels)
    assert all(0 < pair.similarity <= 1 and pair.first < pair.second and pair.shared_words for pair in found)
    assert [pair.similarity for pair in found] == sorted((pair.similarity for pair in found), reverse=True)
    by_names = {(pair.first, pair.second): pair.similarity for pair in found}
    for first, second in combinations("abcd", 2):
        expected = plain_similarity(texts, labels, first, second)
        assert by_names.get((first, second), 0.0) == pytest.approx(expected, abs=2e-6)
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert confusable_pairs([text for text, _ in shuffled], [names for _, names in shuffled]) == found


@settings(max_examples=100)
@given(some_rows)
def test_a_pair_is_alike_whichever_label_is_first(rows: list[tuple[str, tuple[str, ...]]]) -> None:
    texts, labels = [text for text, _ in rows], [names for _, names in rows]
    other_way = str.maketrans("abcd", "dcba")
    renamed = [tuple(name.translate(other_way) for name in names) for names in labels]
    mirrored = {
        (pair.second.translate(other_way), pair.first.translate(other_way)): pair.similarity
        for pair in confusable_pairs(texts, renamed)
    }
    straight = {(pair.first, pair.second): pair.similarity for pair in confusable_pairs(texts, labels)}
    assert mirrored == pytest.approx(straight, abs=2e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The parcel, the PARCEL!", ["parcel", "the"]),
        ("don't don\u2019t 'quoted' -- well-known", ["don't", "don\u2019t", "quoted", "well-known"]),
        ("e-mail: jane@example.com (2 of 3)", ["2", "3", "com", "e-mail", "example", "jane", "of"]),
        ("Ärger über Straßen", ["straßen", "ärger", "über"]),
        ("हिन्दी में लिखा", ["में", "लिखा", "हिन्दी"]),
        ("包裹、包", ["包", "裹"]),
        ("🙄 ok…", ["ok", "🙄"]),
        ("", []),
        ("?! …", []),
    ],
)
def test_words_are_found_in_any_script(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


PROGRAM = """
import json, sys, msgspec
from tunelane_components.etl.confusable import confusable_pairs
print(msgspec.json.encode(confusable_pairs(*json.load(sys.stdin))).decode())
"""


def test_other_processes_find_the_same() -> None:
    texts, labels = rows_of(TEXTS)
    expected = confusable_pairs(texts, labels)
    for seed in ("1", "99"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps([texts, labels]),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found = [
            ConfusablePair(**{**pair, "shared_words": tuple(pair["shared_words"])}) for pair in json.loads(done.stdout)
        ]
        assert found == expected


def test_twenty_thousand_rows_of_28_labels_take_seconds() -> None:
    rng = random.Random(2)  # noqa: S311 - no secret
    vocabulary = [f"word{number}" for number in range(4000)]
    names = [f"emotion {number}" for number in range(28)]
    texts = [" ".join(rng.choices(vocabulary, k=15)) for _ in range(20_000)]
    labels = [rng.sample(names, rng.choice((1, 1, 2, 3))) for _ in texts]
    # Of the processor: how long it takes says what else this machine does.
    begin = time.process_time()
    found = confusable_pairs(texts, labels)
    assert time.process_time() - begin < 10  # about one
    assert len(found) == 10


def test_what_was_masked_is_no_word() -> None:
    assert words_of("Call [PHONE] or write to [EMAIL], says [NAME] [name]") == [
        "call",
        "name",
        "or",
        "says",
        "to",
        "write",
    ]
