"""Loading a package for serving: verified, looked into, self-tested, with errors of one line."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from tunelane_serving.backends.onnx_file import check_onnx_file
from tunelane_serving.errors import ContractError, TunelaneError, first_line
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.model import Model
from tunelane_serving.package import (
    LABEL_TASKS,
    Manifest,
    PackagedFile,
    Variant,
    package_digest,
    verify_files,
    verify_listing,
)


def load_model(directory: Path, expected_digest: str | None) -> Model:
    """Load a package of any task and framework; whatever is wrong with it becomes an error of one line.

    Every ONNX file is looked into before any is loaded. The first variant that answers its golden rows within their
    tolerance serves; where there are none, the preferred one that can be run. A graph with labels must have some.

    Args:
        directory: the package.
        expected_digest: the digest that it must have; None takes it as it is.

    Raises:
        DigestMismatch: it is not the expected package, or a file was changed.
        ContractError: it is broken, names other files or custom operators, or cannot be served on this machine.
    """
    try:
        manifest = verify_listing(directory, expected_digest=expected_digest)
        verification = _Verification(directory, manifest)
        model = _open(directory, manifest, verification)
        verification.wait()
        return model
    except TunelaneError:
        raise
    except Exception as error:  # a graph that does not fit its manifest fails in ways of its framework's and numpy's
        raise _not_served(directory, error) from error


def load_classifier(package: Path, expected_digest: str | None) -> TextClassifier:
    """Load a package that is to classify texts by a graph; errors are those of `load_model`."""
    model = load_model(package, expected_digest)
    if not isinstance(model, TextClassifier):
        raise ContractError(
            f"{package}: a package of framework {model.manifest.framework} and task {model.manifest.task} "
            "is no classifier; name one that is"
        )
    return model


class _Verification:
    """Digests of a package's files: of what the preferred variant needs at once, of the other graphs meanwhile.

    A float32 graph that nobody opens is most of a package; reading it takes as long as opening the one that serves.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        """Verify what is needed first; raises DigestMismatch."""
        graphs = {variant.path for variant in manifest.variants[1:]} if manifest.framework == "onnx" else set()
        later = graphs - {variant.path for variant in manifest.variants[:1]}
        verify_files(directory, [file for file in manifest.files if file.path not in later])
        self._later = later
        self._verified: Future[None] = Future()
        files = [file for file in manifest.files if file.path in later]
        if files:
            threading.Thread(target=self._verify, args=(directory, files), name="verification", daemon=True).start()
        else:
            self._verified.set_result(None)

    def require(self, variant: Variant) -> None:
        """Wait until the variant's files are verified; raises DigestMismatch."""
        if variant.path in self._later:
            self.wait()

    def wait(self) -> None:
        """Wait until all files are verified; raises DigestMismatch."""
        self._verified.result()

    def _verify(self, directory: Path, files: Sequence[PackagedFile]) -> None:
        try:
            verify_files(directory, files)
            self._verified.set_result(None)
        except BaseException as error:
            self._verified.set_exception(error)


def _open(directory: Path, manifest: Manifest, verification: _Verification) -> Model:
    if manifest.framework == "rules":
        from tunelane_serving.models.rules import KeywordClassifier

        return KeywordClassifier.of_package(manifest, package_digest(directory))
    if manifest.framework == "onnx":
        # All of them, so that a package is refused or taken whole; it only reads, whatever is in a file.
        for path in {variant.path for variant in manifest.variants}:
            check_onnx_file(directory / path)
    if manifest.task in LABEL_TASKS:
        return TextClassifier.of_verified(directory, manifest, require=verification.require)
    if manifest.task == "embedding":
        from tunelane_serving.models.embedder import TextEmbedder

        return TextEmbedder.of_verified(directory, manifest, require=verification.require)
    from tunelane_serving.models.tensor_model import TensorModel

    return TensorModel.of_verified(directory, manifest, require=verification.require)


def _not_served(directory: Path, error: Exception) -> ContractError:
    return ContractError(f"{directory}: cannot be served: {type(error).__name__}: {first_line(error)}")
