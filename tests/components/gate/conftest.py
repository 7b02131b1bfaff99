"""Predictions as the gate reads them."""

from collections.abc import Callable, Sequence

import pytest

from tunelane_components.evaluate.predictions import Prediction


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., list[Prediction]]:
    """Give a factory of predictions: one row for each pair of true and predicted label, ids in their order."""

    def make(truth: Sequence[str], predicted: Sequence[str], model: str = "challenger") -> list[Prediction]:
        return [
            Prediction(
                id=f"row-{number:05d}",
                truth=(true,),
                predicted=(guess,),
                scores=(),
                model_digest=model,
                taxonomy_digest="taxonomy",
            )
            for number, (true, guess) in enumerate(zip(truth, predicted, strict=True))
        ]

    return make
