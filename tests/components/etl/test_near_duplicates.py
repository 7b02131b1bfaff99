import json
import multiprocessing
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_components.etl import near_duplicates
from tunelane_components.etl.near_duplicates import HeldOutIndex, bands_for
from tunelane_components.etl.record import normalized
from tunelane_serving.errors import InputError

SUBJECTS = ("the parcel", "my order", "this camera", "the new phone", "our booking", "the invoice", "a blue jacket")
VERBS = ("arrived", "was delivered", "broke", "stopped working", "came back", "was charged", "looked different")
ENDINGS = ("two days late", "without any notice", "and nobody answers", "after one week", "in a torn box", "twice")
REMARKS = ("please refund me", "i am quite happy though", "never again", "what should i do now", "thanks for the help")


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def review(rng: random.Random) -> str:
    """A sentence or two of about a hundred characters, unlike the others."""
    parts = [f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(ENDINGS)}" for _ in range(2)]
    made_up = "".join(rng.choice("abcdefghiklmnoprstuw") for _ in range(12))
    return f"{made_up}: {', '.join(parts)}; {rng.choice(REMARKS)}."


def shingles(text: str) -> set[bytes]:
    """The same sets by the plainest means: runs of four UTF-16 units."""
    encoded = normalized(text).encode("utf-16-le", "surrogatepass").ljust(8, b"\0")
    return {encoded[start : start + 8] for start in range(0, len(encoded) - 7, 2)}


def jaccard(first: str, second: str) -> float:
    ours, theirs = shingles(first), shingles(second)
    return len(ours & theirs) / len(ours | theirs)


def index(texts: Sequence[str], threshold: float = 0.8) -> HeldOutIndex:
    made = HeldOutIndex(threshold)
    made.add(texts)
    return made


def change_a_word(text: str, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = rng.choice(("really", "today", "a"))
    return " ".join(words)


def make_a_typo(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice("abcdefgh") + text[place + 1 :]


def drop_punctuation(text: str, rng: random.Random) -> str:
    return re.sub(r"[^\w\s]", "", text) + "!"


def append_words(text: str, rng: random.Random) -> str:
    return f"{text} {rng.choice(('thanks a lot', '10/10', 'so sad'))}"


@pytest.mark.parametrize("edit", [change_a_word, make_a_typo, drop_punctuation, append_words])
def test_edited_texts_at_the_threshold_are_found(edit: Callable[[str, random.Random], str]) -> None:
    rng = seeded(11)
    held_out = [review(rng) for _ in range(1500)]
    edited = [edit(text, rng) for text in held_out]
    truth = [jaccard(*pair) for pair in zip(edited, held_out, strict=True)]
    found = index(held_out).nearest(edited)
    near = [answer > 0 for answer, similarity in zip(found, truth, strict=True) if similarity >= 0.8]
    assert len(near) > 700  # most edits of a hundred characters leave four fifths of the shingles
    assert sum(near) / len(near) >= 0.99


def test_pairs_right_at_the_threshold_are_found_as_often_as_promised() -> None:
    # Pairs of random letters that share so many that their similarity is 0.80 to 0.82: the hardest there are.
    rng = seeded(5)
    held_out, asked = [], []
    while len(asked) < 1500:
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(200))
        changed = text[: rng.randrange(178, 184)] + "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(19))
        if 0.8 <= jaccard(text, changed) <= 0.82:
            held_out.append(text)
            asked.append(changed)
    found = index(held_out).nearest(asked)
    assert sum(similarity > 0 for similarity in found) / len(found) >= 0.985


def test_a_found_similarity_is_the_exact_one() -> None:
    rng = seeded(3)
    held_out = [review(rng) for _ in range(300)]
    asked = [make_a_typo(make_a_typo(text, rng), rng) for text in held_out]
    for text, original, found in zip(asked, held_out, index(held_out, 0.5).nearest(asked), strict=True):
        assert found == pytest.approx(max(jaccard(text, other) for other in (original, *held_out[:40])))


def test_unrelated_texts_are_at_0() -> None:
    rng = seeded(1)
    held_out = [review(rng) for _ in range(200)]
    assert index(held_out).nearest(["Something else altogether, in other words.", "ok"]) == [0.0, 0.0]


def test_long_documents_of_one_language_are_not_near_duplicates() -> None:
    rng = seeded(9)
    documents = ["\n".join(review(rng) for _ in range(120)) for _ in range(12)]
    assert 0.1 < jaccard(documents[0], documents[1]) < 0.8
    assert index(documents[:6]).nearest(documents[6:]) == [0.0] * 6
    assert all(similarity > 0.99 for similarity in index(documents).nearest([f"{text} the end" for text in documents]))


def test_case_width_and_white_space_do_not_count() -> None:
    assert index(["The parcel came late."]).nearest(
        ["  the PARCEL\ncame\u00a0late. ", "\uff34he parcel came late."]
    ) == [1, 1]


@pytest.mark.parametrize("text", ["", "a", "ok", "yes", "good", "😀", "😀😀😀", "\ud800", "a\0b", "שלום", "ok\n"])
def test_short_and_odd_texts_match_themselves_and_nothing_else(text: str) -> None:
    held_out = index(["The parcel came late.", text])
    assert held_out.nearest([text, "another text"]) == [1.0, 0.0]


def test_an_index_of_nothing_finds_nothing() -> None:
    assert HeldOutIndex(0.8).nearest(["a text", ""]) == [0.0, 0.0]
    assert index(["a text"]).nearest([]) == []


def test_texts_may_be_added_after_a_question() -> None:
    held_out = index(["The first parcel came late."])
    assert held_out.nearest(["The second invoice was wrong."]) == [0.0]
    held_out.add(["The second invoice was wrong!"])
    assert held_out.nearest(["The second invoice was wrong.", "The first parcel came late."]) == [
        pytest.approx(jaccard("The second invoice was wrong.", "The second invoice was wrong!")),
        1.0,
    ]


few_letters = st.text(alphabet="ab c", max_size=12)


@settings(max_examples=80)
@given(
    held_out=st.lists(few_letters, max_size=12),
    asked=st.lists(few_letters, max_size=6),
    threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    rng=st.randoms(use_true_random=False),
)
def test_an_answer_is_true_and_hangs_on_no_order(
    held_out: list[str], asked: list[str], threshold: float, rng: random.Random
) -> None:
    answers = index(held_out, threshold).nearest(asked)
    for text, answer in zip(asked, answers, strict=True):
        similarities = {jaccard(text, other) for other in held_out}
        assert answer == 0 or (answer >= threshold and answer in similarities)
        if 1.0 in similarities:
            assert answer == 1.0  # equal sets share every band
    shuffled, places = list(held_out), list(range(len(asked)))
    rng.shuffle(shuffled)
    rng.shuffle(places)
    again = HeldOutIndex(threshold)
    for text in shuffled:
        again.add([text, text])
    assert again.nearest([asked[place] for place in places]) == [answers[place] for place in places]


def test_a_template_of_thousands_of_rows_answers_alike_in_any_order() -> None:
    held_out = [f"Your order {number:06d} has been shipped to our store today." for number in range(3000)]
    asked = [f"Your order {number:06d} has been shipped to our store today." for number in range(5000, 200_000, 1999)]
    made = index(held_out, 0.6)
    answers = made.nearest(asked)
    assert all(answer >= 0.6 for answer in answers)
    # Thousands share a bucket, of which a fixed few stand for the rest, whichever came first.
    assert max(len(table) for table in made._tables) < 3000
    assert index(held_out[::-1], 0.6).nearest(asked) == answers


def test_how_questions_are_batched_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = seeded(4)
    held_out = [review(rng) for _ in range(100)]
    asked = [make_a_typo(text, rng) for text in held_out]
    answers = index(held_out).nearest(asked)
    monkeypatch.setattr(near_duplicates, "_BATCH_CHARACTERS", 300)
    assert index(held_out).nearest(asked) == answers


def test_signatures_are_those_of_datasketch() -> None:
    keys, starts = near_duplicates._shingles(["the parcel came late", "ok", "der Ärger 🙄 blieb", "x" * 5000])
    hashes = near_duplicates._shingle_hashes(keys)
    signatures = near_duplicates._signatures(hashes, starts, 128)
    for place in range(4):
        theirs = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=int)
        theirs.update_batch(hashes[starts[place] : starts[place + 1]])
        assert np.array_equal(signatures[:, place], theirs.hashvalues)


def test_band_hashes_are_the_same_on_every_platform_and_release() -> None:
    # With other hashes, two builds of one data set could differ in a row near the threshold.
    keys, starts = near_duplicates._shingles(["the parcel came late", "der Ärger 🙄 blieb"])
    hashes = near_duplicates._band_hashes(keys, starts, 25, 5)
    assert hashes[:3].tolist() == [[3164933630, 3133970557], [937258548, 4171374580], [491572864, 631624069]]


PROGRAM = """
import json, sys
from tunelane_components.etl.near_duplicates import HeldOutIndex
held_out, asked = json.load(sys.stdin)
index = HeldOutIndex(0.6)
index.add(held_out)
print(json.dumps(index.nearest(asked)))
"""


def test_other_processes_answer_alike() -> None:
    rng = seeded(8)
    held_out = [review(rng) for _ in range(200)]
    asked = [change_a_word(change_a_word(text, rng), rng) for text in held_out]
    made = index(held_out, 0.6)
    answers = made.nearest(asked)
    assert 50 < sum(answer > 0 for answer in answers) <= 200
    assert pickle.loads(pickle.dumps(made)).nearest(asked) == answers  # noqa: S301
    for seed in ("0", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps([held_out[::-1], asked]),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == answers
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(made.nearest, [asked[:100], asked[100:]]) == [answers[:100], answers[100:]]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_bands_find_99_of_100_pairs_at_the_threshold(threshold: float) -> None:
    bands, hashes = bands_for(threshold)
    assert bands * hashes <= 128
    rng = np.random.default_rng(0)
    agree = (rng.random((20_000, bands, hashes)) < threshold).all(axis=2).sum(axis=1)
    assert (agree >= 2).mean() >= 0.987


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_similarity_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="near_duplicate_threshold=") as caught:
        HeldOutIndex(threshold)
    assert "\n" not in str(caught.value)
