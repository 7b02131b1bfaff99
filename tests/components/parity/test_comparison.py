from pathlib import Path

import msgspec
import numpy as np
import pytest

from tunelane_components.etl.dataset import read_split
from tunelane_components.parity.comparison import ParityBounds, ParityComparison
from tunelane_components.parity.parity import measure_parity
from tunelane_serving.contract import encode, read
from tunelane_serving.errors import InputError
from tunelane_serving.models.classifier import TextClassifier

_GOLDEN = Path(__file__).parent / "golden" / "comparison_v1.json"


def test_version_1_of_the_contract_loads_for_ever() -> None:
    comparison = read(_GOLDEN, ParityComparison)
    assert comparison.ids == ("movies-1", "zwölf", "tweets-7")
    assert comparison.bounds == ParityBounds()
    assert msgspec.json.format(encode(comparison), indent=2) + b"\n" == _GOLDEN.read_bytes()


def test_the_first_problem_names_its_variant_and_good_figures_have_none() -> None:
    comparison = read(_GOLDEN, ParityComparison)
    assert comparison.problem == (
        "int8 does not answer as PyTorch does on 3 held-out rows: 66.7% of labels agree, 95.0% are needed."
    )
    assert msgspec.structs.replace(comparison, bounds=ParityBounds(min_agreement=0.5)).problem == ""


def test_columns_of_other_lengths_and_other_variants_are_no_comparison() -> None:
    comparison = read(_GOLDEN, ParityComparison)
    fields = msgspec.structs.asdict(comparison)
    with pytest.raises(ValueError, match="every column has one entry a row"):
        ParityComparison(**fields | {"scores": (0.5,)})
    with pytest.raises(ValueError, match="are not those of the report"):
        ParityComparison(**fields | {"variants": comparison.variants[::-1]})


@pytest.mark.parametrize("bounds", [{"min_agreement": 1.1}, {"min_f1_delta": -2.0}])
def test_bounds_out_of_their_range_are_named(bounds: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bounds))):
        ParityBounds(**bounds)


def test_every_row_has_what_pytorch_and_each_graph_gave(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path
) -> None:
    comparison = measure_parity(toy_checkpoint, toy_dataset, toy_package_draft, bounds=ParityBounds(), max_rows=12)
    texts = {row.id: row.text for split in ("valid", "test") for row in read_split(toy_dataset, split)}
    for rows, figures in zip(comparison.variants, comparison.report.variants, strict=True):
        classifier = TextClassifier.open(toy_package_draft, variant=rows.variant)
        answers = [classifier.classify(texts[row]) for row in comparison.ids]
        assert rows.labels == tuple(answer.labels[0] for answer in answers)
        names = classifier.taxonomy.names
        expected = [answer.scores[names.index(label)] for answer, label in zip(answers, comparison.labels, strict=True)]
        assert rows.scores == pytest.approx(expected, abs=1e-6)
        flips = sum(ours != theirs for ours, theirs in zip(rows.labels, comparison.labels, strict=True))
        assert flips == figures.label_flips
        assert np.abs(np.subtract(rows.scores, comparison.scores)).max() <= figures.max_abs_score_delta + 1e-6
