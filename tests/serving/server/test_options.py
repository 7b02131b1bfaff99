from pathlib import Path

import pytest

from tunelane_serving.server.options import parse


def test_on_a_machine_of_ones_own_the_server_listens_there_alone_and_keeps_things() -> None:
    options = parse(["--package", "reviews"], {})
    assert (options.host, options.port, options.mode) == ("127.0.0.1", 8080, "standalone")


def test_on_cloud_run_it_listens_on_every_address_and_keeps_nothing_of_its_own() -> None:
    options = parse(["--package", "reviews"], {"K_SERVICE": "reviews", "PORT": "9000"})
    assert (options.host, options.port, options.mode, options.database) == ("0.0.0.0", 9000, "serverless", None)  # noqa: S104


def test_on_vertex_ai_port_and_model_come_from_the_environment() -> None:
    options = parse([], {"AIP_HTTP_PORT": "7080", "PORT": "1", "AIP_STORAGE_URI": "gs://bucket/model"})
    assert (options.host, options.port, options.mode) == ("0.0.0.0", 7080, "serverless")  # noqa: S104
    assert options.model == "gs://bucket/model"


def test_what_is_given_comes_before_the_environment() -> None:
    environment = {
        "AIP_HTTP_PORT": "7080",
        "AIP_STORAGE_URI": "gs://bucket/model",
        "TUNELANE_DATABASE_URL": "sqlite://",
    }
    given = ["--package", "a", "--port", "1", "--host", "::1", "--mode", "standalone", "--database", "postgresql://b"]
    options = parse(given, environment)
    assert (options.package, options.model) == (Path("a"), None)
    assert (options.host, options.port, options.mode) == ("::1", 1, "standalone")
    assert options.database == "postgresql://b"


def test_every_limit_has_an_option() -> None:
    given = ["--package", "a", "--max-waiting", "7", "--inference-timeout-s", "0.5", "--max-unpacked-files", "3"]
    limits = parse(given, {}).limits
    assert (limits.max_waiting, limits.inference_timeout_s, limits.max_unpacked_files) == (7, 0.5, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--package --deployment --model --repository is required"),
        (["--package", "a", "--model", "b"], "not allowed with"),
        (["--package", "a", "--inference-timeout-s", "0"], "not a number above 0"),
        (["--package", "a", "--inference-timeout-s", "nan"], "not a number above 0"),
        (["--package", "a", "--workers", "1025"], "'1025' is more than 1024"),
        (["--package", "a", "--batch", "abc"], "64 hex digits"),
        (["--package", "a", "--mode", "cluster"], "invalid choice"),
        (["--package", "a", "--answer-cache-bytes", "-1"], "whole number"),
        (["--package", "a", "--name", "my reviews"], "'my reviews' is no name of a model: 1 to 128 letters"),
        (["--package", "a", "--name", "reviews\n"], "is no name of a model"),
        (["--package", "a", "--name", ""], "'' is no name of a model"),
        (["--deployment", "a", "--name", "b"], "--name goes with --package or --model"),
        (["--repository", "--name", "b"], "--name goes with --package or --model"),
        (["--repository", "--fallback-taxonomy", "b"], "--fallback-taxonomy goes with --package, --model or"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given, {})
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
