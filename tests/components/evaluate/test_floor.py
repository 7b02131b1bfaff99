import pytest

from tunelane_components.etl.record import Record
from tunelane_components.evaluate.floor import FLOOR_DIGEST, floor_predictions
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy

TAXONOMY = Taxonomy((Label("refund"), Label("greeting"), Label("delivery")))


def records(*rows: tuple[str, str]) -> list[Record]:
    return [Record(str(number), text, (label,)) for number, (text, label) in enumerate(rows)]


TRAIN = records(
    ("i want my money back", "refund"),
    ("send the money back please", "refund"),
    ("hello there", "greeting"),
    ("hello and good day", "greeting"),
)


def test_the_floor_learns_words_and_scores_in_taxonomy_order():
    prediction = floor_predictions(TRAIN, records(("my money please", "refund")), TAXONOMY)[0]
    assert prediction.predicted == prediction.truth == ("refund",)
    assert prediction.scores[0] == max(prediction.scores)
    assert sum(prediction.scores) == pytest.approx(1.0)
    assert prediction.model_digest == FLOOR_DIGEST == "floor:tfidf-lr"
    assert prediction.taxonomy_digest == TAXONOMY.digest


def test_a_label_without_training_rows_gets_zero():
    prediction = floor_predictions(TRAIN, records(("hello", "delivery")), TAXONOMY)[0]
    assert prediction.scores[2] == 0.0
    assert prediction.predicted == ("greeting",)


def test_label_order_changes_no_answer_and_no_score():
    turned = Taxonomy(tuple(reversed(TAXONOMY.labels)))
    for text in ("hello money", "back", "never seen"):
        straight = floor_predictions(TRAIN, records((text, "refund")), TAXONOMY)[0]
        backwards = floor_predictions(TRAIN, records((text, "refund")), turned)[0]
        assert straight.predicted == backwards.predicted
        assert straight.scores == backwards.scores[::-1]


def test_texts_of_signs_alone_have_a_vocabulary():
    train = records(("🙂", "greeting"), ("💸 !", "refund"))
    assert floor_predictions(train, records(("💸", "refund")), TAXONOMY)[0].predicted == ("refund",)


def test_one_label_alone_cannot_be_learnt():
    with pytest.raises(InputError, match="fewer than two labels"):
        floor_predictions(TRAIN[:2], TRAIN, TAXONOMY)
