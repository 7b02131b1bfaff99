"""The floor: what word counts and a linear model reach. A model that does not beat it is not worth serving."""

from tunelane_components.etl.record import Record
from tunelane_components.evaluate.predictions import Prediction, slices_of
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Taxonomy

FLOOR_DIGEST = "floor:tfidf-lr"


def floor_predictions(train: list[Record], test: list[Record], taxonomy: Taxonomy) -> list[Prediction]:
    """Fit TF-IDF of words and word pairs with logistic regression (C=4) on `train`; predict `test`.

    Scores stand in taxonomy order; a label without a training row gets 0. Single-label tasks only.

    Raises:
        InputError: fewer than two labels in `train`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    # Signs are tokens too: a text of nothing but emoji or single letters still has a vocabulary.
    words_and_signs = r"\w+|[^\w\s]"
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=words_and_signs, sublinear_tf=True)
    model = LogisticRegression(C=4.0, max_iter=1000)
    labels = [record.labels[0] for record in train]
    if len(set(labels)) < 2:
        raise InputError("The training split has fewer than two labels; bring rows of at least two.")
    model.fit(vectorizer.fit_transform([record.text for record in train]), labels)
    probabilities = model.predict_proba(vectorizer.transform([record.text for record in test]))
    classes = [str(name) for name in model.classes_]
    predictions = []
    for record, row in zip(test, probabilities, strict=True):
        score_by_label = dict(zip(classes, row.tolist(), strict=True))
        predictions.append(
            Prediction(
                id=record.id,
                truth=record.labels,
                predicted=(classes[int(row.argmax())],),
                scores=tuple(score_by_label.get(name, 0.0) for name in taxonomy.names),
                model_digest=FLOOR_DIGEST,
                taxonomy_digest=taxonomy.digest,
                slices=slices_of(record),
            )
        )
    return predictions
