import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from tunelane_serving.monitoring.drift import OTHER_LABELS, DriftReport, FeatureDrift, Observations, measure_drift
from tunelane_serving.package import Histogram
from tunelane_serving.server import wire

_LABELS = Histogram("label", counts=(600, 400), categories=("negative", "positive"))
_CONFIDENCE = Histogram("confidence", counts=(100, 300, 600), edges=(0.0, 0.5, 0.8, 1.0))
_LENGTH = Histogram("length_tokens", counts=(200, 500, 300), edges=(0.0, 8.0, 16.0, 1e6))
_OOV = Histogram("oov_share", counts=(900, 100), edges=(0.0, 0.1, 1.0))
_REFERENCE = (_LABELS, _CONFIDENCE, _LENGTH, _OOV)


def _observed(
    events: int = 1000,
    *,
    labels: list[str] | None = None,
    confidence: NDArray[np.float64] | None = None,
    length_tokens: NDArray[np.float64] | None = None,
    oov_share: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Observations:
    """Draw events as the reference has them, but for what is given."""
    generator = np.random.default_rng(seed)

    def drawn(middles: list[float], shares: list[float]) -> NDArray[np.float64]:
        return generator.choice(middles, events, p=shares).astype(np.float64)

    if labels is None:
        labels = generator.choice(["negative", "positive"], events, p=[0.6, 0.4]).tolist()
    return Observations(
        labels,
        drawn([0.2, 0.6, 0.9], [0.1, 0.3, 0.6]) if confidence is None else confidence,
        drawn([4, 10, 40], [0.2, 0.5, 0.3]) if length_tokens is None else length_tokens,
        drawn([0.0, 0.5], [0.9, 0.1]) if oov_share is None else oov_share,
    )


def _feature(report: DriftReport, name: str) -> FeatureDrift:
    (found,) = (feature for feature in report.features if feature.name == name)
    return found


def test_traffic_like_the_reference_has_not_drifted() -> None:
    report = measure_drift(_REFERENCE, _observed())
    assert (report.status, report.events) == ("none", 1000)
    assert [feature.name for feature in report.features] == ["label", "confidence", "length_tokens", "oov_share"]
    for feature in report.features:
        assert feature.psi is not None
        assert feature.psi < (feature.threshold or 0)
        assert (feature.drifted, feature.events, feature.reference_count) == (False, 1000, 1000)


def test_only_what_has_drifted_is_said_to() -> None:
    report = measure_drift(_REFERENCE, _observed(labels=["positive"] * 700 + ["negative"] * 300))
    assert report.status == "drift"
    assert [feature.name for feature in report.features if feature.drifted] == ["label"]


def test_false_alarms_over_all_histograms_together_stay_near_alpha() -> None:
    alpha, trials = 0.05, 300
    alarms = sum(
        measure_drift(_REFERENCE, _observed(150, seed=seed), alpha=alpha, minimum_psi=0.0).status == "drift"
        for seed in range(trials)
    )
    # Fewer than alpha are expected, since the reference here is the truth itself; four distributions each held to
    # alpha would alarm in up to 19 % of the windows. 0.1 is four standard deviations above alpha.
    assert alarms / trials < 0.1


def test_a_threshold_is_never_below_the_smallest_change_that_matters() -> None:
    # 100,000 events show any difference; one of three points in a hundred is none to speak of.
    live = ["negative"] * 63_000 + ["positive"] * 37_000
    observed = _observed(100_000, labels=live)
    reference = (Histogram("label", counts=(60_000, 40_000), categories=("negative", "positive")),)
    (feature,) = measure_drift(reference, observed).features
    assert (feature.drifted, feature.threshold) == (False, 0.1)
    assert measure_drift(reference, observed, minimum_psi=0.001).features[0].drifted


def test_each_of_many_histograms_is_held_to_its_part_of_alpha() -> None:
    alone = measure_drift((_LABELS,), _observed(100), minimum_psi=0.0).features[0].threshold
    among_four = measure_drift(_REFERENCE, _observed(100), minimum_psi=0.0).features[0].threshold
    assert alone is not None
    assert among_four is not None
    assert among_four > alone


def test_too_few_events_are_counted_and_not_judged() -> None:
    report = measure_drift(_REFERENCE, _observed(99))
    assert (report.status, report.events, report.minimum_events) == ("too_few_events", 99, 100)
    assert {(feature.psi, feature.threshold, feature.drifted) for feature in report.features} == {(None, None, False)}
    assert report.features[0].events == 99


def test_no_events_at_all_are_too_few() -> None:
    report = measure_drift(_REFERENCE, _observed(0), minimum_events=0)
    assert report.status == "too_few_events"
    assert report.features[0].live == (0.0, 0.0)


def test_a_package_without_histograms_has_no_reference() -> None:
    empty = Histogram("label", counts=(0, 0), categories=("negative", "positive"))
    foreign = Histogram("weather", counts=(1, 2), categories=("rain", "sun"))
    mistaken = Histogram("label", counts=(1, 2), edges=(0.0, 1.0, 2.0))
    for reference in ((), (empty,), (foreign,), (mistaken,)):
        assert measure_drift(reference, _observed()).status == "no_reference"


def test_values_that_are_absent_are_left_out_of_the_count() -> None:
    lengths = np.full(1000, 10.0)
    lengths[:400] = np.nan
    report = measure_drift(_REFERENCE, _observed(length_tokens=lengths, oov_share=np.full(1000, np.nan)))
    assert _feature(report, "length_tokens").events == 600
    assert _feature(report, "length_tokens").drifted
    # One figure that no event has: it is not judged, the others are.
    assert _feature(report, "oov_share").psi is None
    assert report.status == "drift"


def test_labels_that_the_reference_does_not_know_have_a_bin_and_are_drift() -> None:
    report = measure_drift(_REFERENCE, _observed(labels=["negative"] * 500 + ["positive"] * 300 + ["new"] * 200))
    label = _feature(report, "label")
    assert label.bins == ("negative", "positive", OTHER_LABELS)
    assert label.reference == pytest.approx((0.6, 0.4, 0.0))
    assert label.live == pytest.approx((0.5, 0.3, 0.2))
    assert label.drifted


def test_edges_belong_to_the_bin_above_but_the_last() -> None:
    confidence = np.array([0.0, 0.5, 0.8, 1.0])
    feature = _feature(measure_drift(_REFERENCE, _observed(4, confidence=confidence)), "confidence")
    assert feature.live == (0.25, 0.25, 0.5)


def test_values_outside_the_edges_are_in_the_end_bins() -> None:
    confidence = np.array([-1.0, 0.6, 7.0, np.inf])
    feature = _feature(measure_drift(_REFERENCE, _observed(4, confidence=confidence)), "confidence")
    assert feature.live == (0.25, 0.25, 0.5)


def test_bins_are_named_for_people() -> None:
    report = measure_drift(_REFERENCE, _observed())
    assert _feature(report, "label").bins == ("negative", "positive")
    assert _feature(report, "confidence").bins == ("0–0.5", "0.5–0.8", "0.8–1")  # noqa: RUF001
    assert _feature(report, "length_tokens").bins == ("0–8", "8–16", "16+")  # noqa: RUF001


def test_the_report_is_what_the_server_answers() -> None:
    fields = {field.name for field in msgspec.structs.fields(wire.FeatureDrift)}
    assert set(FeatureDrift.__dataclass_fields__) == fields
    assert set(DriftReport.__dataclass_fields__) < {field.name for field in msgspec.structs.fields(wire.Drift)}
