from pathlib import Path

import onnxruntime
import pytest

from tunelane_serving.backends.onnx import open_session
from tunelane_serving.errors import ContractError


@pytest.mark.parametrize(("said", "words"), [("", "RuntimeError"), ("\n first \nsecond", "first")])
def test_a_graph_that_cannot_be_loaded_is_refused_in_one_line_whatever_the_runtime_says(
    said: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(ContractError, match=rf"^model\.onnx: ONNX Runtime cannot load it: {words}$"):
        open_session(Path("model.onnx"))
