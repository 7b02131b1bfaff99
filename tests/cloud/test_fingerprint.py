"""The fingerprint of data in Cloud Storage, by the client that the tasks use."""

import os
import subprocess
import sys

import pytest

from tunelane_components.etl.fingerprint import fingerprint

_ROWS = b"text,label\ngood,praise\n"
_OTHER = b"text,label\nevil,praise\n"


@pytest.fixture
def data(bench):
    for name in ("a.csv", "b.csv"):
        bench.storage.write(f"gs://{bench.bucket}/data/{name}", _ROWS)
    return f"gs://{bench.bucket}/data"


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/*.csv", "{}/a.csv"])
def test_an_object_written_again_in_the_same_size_changes_it(bench, data, form):
    assert len(_OTHER) == len(_ROWS)
    before = fingerprint(form.format(data))
    assert fingerprint(form.format(data)) == before
    bench.storage.write(f"{data}/a.csv", _OTHER)
    assert fingerprint(form.format(data)) != before


def test_a_generation_never_comes_back_even_if_the_content_does(bench, data):
    before = fingerprint(data)
    bench.storage.write(f"{data}/a.csv", _OTHER)
    bench.storage.write(f"{data}/a.csv", _ROWS)
    assert fingerprint(data) != before


def test_an_object_more_or_less_changes_it(bench, data):
    before = fingerprint(data)
    bench.storage.write(f"{data}/c.csv", _ROWS)
    more = fingerprint(data)
    assert fingerprint(f"{data}/a.csv") not in (before, more)
    assert more != before


def test_the_data_is_listed_and_not_downloaded(bench, data):
    bench.storage.write(f"gs://{bench.bucket}/labels.yaml", b"labels: [a]")

    def downloaded():
        asked = bench.called("storage.objects.get")
        return [request["path"].rpartition("/")[2] for request in asked if request["query"].get("alt") == "media"]

    fingerprint(data)
    assert bench.called("storage.objects.list")
    assert downloaded() == []
    fingerprint(data, taxonomy=f"gs://{bench.bucket}/labels.yaml")
    assert downloaded() == ["labels.yaml"]


def test_taxonomy_and_tokenizer_count_by_their_bytes(bench, data):
    taxonomy, model = f"gs://{bench.bucket}/labels.yaml", f"gs://{bench.bucket}/model"
    seen = []
    for labels, tokenizer in ((b"labels: [a]", b"{}"), (b"labels: [b]", b"{}"), (b"labels: [b]", b"[]")):
        bench.storage.write(taxonomy, labels)
        bench.storage.write(f"{model}/tokenizer.json", tokenizer)
        seen.append(fingerprint(data, taxonomy=taxonomy, tokenizer=model))
        bench.storage.write(taxonomy, labels)
        assert fingerprint(data, taxonomy=taxonomy, tokenizer=model) == seen[-1]
    assert len(set(seen)) == 3


def test_another_process_sees_the_same(bench, data):
    ask = f"from tunelane_components.etl.fingerprint import fingerprint; print(fingerprint({data!r}))"
    environment = {**os.environ, **bench.environment}
    said = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, timeout=120)
    assert said.stdout.strip() == fingerprint(data), said.stderr
