import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.errors import ConfigError
from server.reference import reference
from server.settings import PREFIX, Settings, settings_from


def test_every_setting_is_described_and_has_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_a_flag_wins_over_its_variable_and_a_variable_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from([]).max_rows == 48
    monkeypatch.setenv(PREFIX + "MAX_ROWS", "5")
    monkeypatch.setenv(PREFIX + "SET", "fp32")
    assert settings_from([]).max_rows == Settings().max_rows == 5
    assert settings_from(["--max-rows", "7"]).max_rows == 7
    assert settings_from([]).set == "fp32"


@pytest.mark.parametrize("text", ["a,b/2", " a , b/2 ,", "a,,b/2"])
def test_models_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert settings_from(["--models", text]).models == ("a", "b/2")
    monkeypatch.setenv(PREFIX + "MODELS", text)
    assert Settings().models == ("a", "b/2")


def test_a_wrong_variable_is_named_with_its_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "PORT", "http")
    with pytest.raises(ConfigError, match=r"--port \(RNNSERVE_PORT\).*got 'http'"):
        settings_from([])


@pytest.mark.parametrize("text", ["*", "10.0.0.0/33", "proxy.internal", "10.0.0.1, all"])
def test_a_proxy_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PREFIX + "TRUSTED_PROXIES", text)
    with pytest.raises(ConfigError, match=r"RNNSERVE_TRUSTED_PROXIES.*give addresses such as 10.0.0.1 or networks"):
        settings_from([])
    monkeypatch.setenv(PREFIX + "TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.1, 2001:db8::1")
    assert settings_from([]).trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128")


def test_settings_do_not_change() -> None:
    settings = Settings(store=Path("elsewhere"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_a_variable_that_means_nothing_is_refused_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "DATA", "somewhere")  # not the server's, and allowed
    settings_from([])
    monkeypatch.setenv(PREFIX + "MAX_ROW", "3")
    with pytest.raises(
        ConfigError, match=r"Variable 'RNNSERVE_MAX_ROW' is not a setting\. Did you mean RNNSERVE_MAX_ROWS"
    ):
        settings_from([])


def test_a_folder_for_sessions_needs_a_key_and_the_key_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^RNNSERVE_SESSION_DIR needs RNNSERVE_SESSION_KEY: .*openssl rand"):
        settings_from(["--session-dir", "somewhere"])
    monkeypatch.setenv(PREFIX + "SESSION_KEY", "my secret")
    with pytest.raises(ConfigError, match=r"RNNSERVE_SESSION_KEY.*at least 16") as caught:
        settings_from([])
    assert "my secret" not in str(caught.value)
    monkeypatch.setenv(PREFIX + "SESSION_KEY", "my secret of 16 letters")
    settings = settings_from(["--session-dir", "somewhere"])
    assert "my secret" not in repr(settings)


SERVICE = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "80",
    "SERVICE_PORT_HTTP": "80",
    "PORT": "tcp://10.0.0.1:80",
    "PORT_80_TCP": "tcp://10.0.0.1:80",
    "PORT_80_TCP_PROTO": "tcp",
    "PORT_80_TCP_PORT": "80",
    "PORT_80_TCP_ADDR": "10.0.0.1",
    "PORT_53_UDP": "udp://[fd00::10]:53",
    "PORT_53_UDP_ADDR": "fd00::10",
}


@pytest.mark.parametrize("service", ["RNNSERVE_", "RNNSERVE_CANARY_", "RNNSERVE_MAX_ROWS_"])
def test_what_kubernetes_makes_of_a_services_name_is_ignored(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    for name, value in SERVICE.items():
        monkeypatch.setenv(service + name, value)
    assert settings_from([]) == Settings() == Settings.model_construct()
    assert settings_from(["--port", "1234"]).port == 1234


def test_the_health_check_of_the_image_ignores_it_too() -> None:
    environment = {**os.environ, "RNNSERVE_PORT": SERVICE["PORT"]}
    command = [sys.executable, "docker/healthcheck.py"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in found.stderr  # whether or not something listens on port 8000 here


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "tcp://10.0.0.1"),  # Kubernetes gives the port, too
        ("PORT", "http://10.0.0.1:80"),
        ("SERVICE_HOST", "my-service"),
        ("SERVICE_HOSTS", "10.0.0.1"),
        ("PORT_80", "tcp://10.0.0.1:80"),
        ("PORTS", "tcp://10.0.0.1:80"),
        ("MAX_ROWS", "tcp://10.0.0.1:80"),
    ],
)
def test_what_only_looks_like_a_services_variable_is_still_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigError, match=PREFIX + name):
        settings_from([])


def test_a_variable_wins_over_the_file_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rnnserve.toml"
    file.write_text('max_rows = 7\nport = 1234\nmodels = ["a", "b/2"]\napi_keys = ["a key of 16 letters"]\n')
    monkeypatch.setenv(PREFIX + "PORT", "4321")
    found = settings_from(["--config", str(file), "--max-requests", "9"])
    assert (found.max_rows, found.port, found.models, found.max_requests) == (7, 4321, ("a", "b/2"), 9)
    assert found.api_keys[0].get_secret_value() == "a key of 16 letters"
    monkeypatch.setenv(PREFIX + "CONFIG", str(file))
    assert Settings().max_rows == settings_from([]).max_rows == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_row = 7", r"'max_row' is not a setting\. Did you mean max_rows\?"),
        ('config = "b.toml"', "'config' is not a setting"),
        ("max_rows = -1", r"--max-rows \(RNNSERVE_MAX_ROWS\).*got -1"),
        ("max_rows =\nport = 1\n", r"cannot be read as TOML: .*line 1"),
        (None, "cannot be read as TOML: .*No such file"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "rnnserve.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings_from(["--config", str(file)])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--prt=3", r"'--prt=3' is not a flag\. Did you mean --port\?"),
        ("serve", r"'serve' is not a flag\. --help lists the flags\."),
        ("--port", "--port: expected one argument"),
    ],
)
def test_a_wrong_flag_is_one_sentence(flag: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_from([flag])


def test_the_reference_of_the_settings_is_what_they_are() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == reference(), "python -m server.reference > docs/settings.md"
