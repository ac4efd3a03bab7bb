"""Every setting of the server, in one place: a frozen object made from flags and RNNSERVE_* variables.

Limits of single fields (how many prompts, how long a stop string) belong to the contract and stand in server.api and
models.decoding.options; they are not settings.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from models.errors import ConfigError

PREFIX = "RNNSERVE_"
SECRETS = ("session_key", "admin_key", "api_keys")
MOST_TTL_SECONDS = 30 * 24 * 3600
OTHER_VARIABLES = {
    "RNNSERVE_DATA": "Folder of the data sets that recipes and benchmarks read.",
    "RNNSERVE_CACHE": "Folder of what is measured and built on this machine: engines, timings. Default: "
    "~/.cache/rnnserve.",
    "RNNSERVE_TENSORRT_API": "Development: folder of TensorRT's Python API, for the type checker.",
    "RNNSERVE_CONTAINER_ENGINE": "Development: command that the container tests use instead of docker.",
}  # with the prefix, and not the server's
_ADDRESS = r"([0-9.]+|\[?[0-9A-Fa-f:.]+\]?)"
_URL = rf"(tcp|udp|sctp)://{_ADDRESS}:\d+"
# What Kubernetes puts into every container for a Service called rnnserve or rnnserve-...: endings of names -> values
_OF_SERVICES = {
    r"SERVICE_HOST": _ADDRESS,
    r"SERVICE_PORT(_[A-Z0-9_]+)?": r"\d+",
    r"PORT": _URL,
    r"PORT_\d+_(TCP|UDP|SCTP)": _URL,
    r"PORT_\d+_(TCP|UDP|SCTP)_PROTO": r"(tcp|udp|sctp)",
    r"PORT_\d+_(TCP|UDP|SCTP)_PORT": r"\d+",
    r"PORT_\d+_(TCP|UDP|SCTP)_ADDR": _ADDRESS,
}
_OF_SERVICE = re.compile(
    "|".join(rf"{PREFIX}([A-Z0-9_]+_)?{name}={value}" for name, value in _OF_SERVICES.items()),
)

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Secret = Annotated[SecretStr, Field(min_length=16)]


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(lambda value: _split(value))]


def _split(value: Any) -> Any:
    """The names in a text such as "a, b"; other values as they are."""
    if isinstance(value, str):
        return tuple(part for item in value.split(",") if (part := item.strip()))
    return value


def _networks(value: Any) -> Any:
    """Addresses and networks as such; others would never be found, or stand for everybody."""
    if not isinstance(value, tuple | list):
        return value
    try:
        return tuple(str(ipaddress.ip_network(item, strict=False)) for item in value)
    except ValueError as error:
        raise ValueError(f"{error}; give addresses such as 10.0.0.1 or networks such as 10.0.0.0/8") from None


class Settings(BaseSettings):
    """The settings of `python -m server`. A flag wins over its variable, and that over the file of --config: --max-rows
    over RNNSERVE_MAX_ROWS over `max_rows = ...`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment without what Kubernetes makes of a Service's name, as RNNSERVE_PORT is; then the file."""
        del dotenv_settings, file_secret_settings
        assert isinstance(env_settings, EnvSettingsSource)
        present = env_settings.env_vars
        env_settings.env_vars = {name: value for name, value in present.items() if not _is_of_service(name, value)}
        assert isinstance(init_settings, InitSettingsSource)
        file = init_settings.init_kwargs.get("config") or env_settings.env_vars.get(f"{PREFIX}config".lower())
        keys = _keys_of(Path(file)) if file else {}
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=keys)

    config: Path | None = None
    """A TOML file of settings under these names, as in `max_rows = 64`; flags and variables win over it."""
    store: Path = Path("artifacts")
    """Folder of the models, <store>/<name>/<version>."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    models: Names = ()
    """Models to load: "name" (highest version) or "name/2", commas between. Default: all."""
    set: Literal["fp32", "int8", "gpu-fp32", "gpu-fp16"] | None = None
    """Graph set to run. Default: the fastest that a model has, for each group of its graphs, as measured on this
    machine; on a CPU it is measured at the first load."""
    backend: Literal["auto", "onnxruntime-cpu", "onnxruntime-cuda", "tensorrt"] = "auto"
    """What computes. auto: what `python -m export bench` recorded on this machine for a model, else a GPU's where they
    are here, else onnxruntime-cpu. tensorrt gives way to ONNX Runtime where it is missing."""
    default_generation: str | None = None
    """Model of generation requests that name none, when several are loaded."""
    default_translation: str | None = None
    """Model of translation requests that name none, when several fit."""
    default_forecast: str | None = None
    """Model of forecast requests that name none, when several are loaded."""
    default_sentiment: str | None = None
    """Model of sentiment requests that name none, when several are loaded."""
    default_tagging: str | None = None
    """Model of tagging requests that name none, when several are loaded."""
    max_requests: Positive = 88
    """Requests inside the server at once, per model; one more is answered 429. A few more than rows keep these filled
    while prompts are read; of still more each one only waits longer. The last quarter is for clients that have few."""
    max_pending_tokens: Annotated[int, Field(ge=1024)] = 1 << 20
    """Tokens that the requests inside may need together, per model: of their texts, and for each answer its most, times
    1 + logprobs. A request that does not fit now is answered 429, one that never fits 422. Small ones, up to a 256th,
    have an eighth more."""
    refusal_seconds: Annotated[float, Field(ge=0)] = 0.2
    """How long an answer of 429 is held back, so that clients that try again at once take little of the server's
    time."""
    request_timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 60_000
    """How long a request may take that does not say so (x-request-timeout-ms); then it is answered 504."""
    max_rows: Annotated[int, Field(ge=1, le=4096)] = 48
    """Rows decoded together in one lane (a beam is beam_size rows; for sentiment, texts of a call); more wait, and
    requests take free slots in turn. From 8 on, a third is reserved for small requests."""
    prefill_tokens: Annotated[int, Field(ge=32)] = 512
    """Prompt tokens read in one call."""
    prefix_cache_bytes: Annotated[int, Field(ge=0)] = 64 << 20
    """Bytes that the states of prompts read may take, per model, so that the same beginning is not read again; 0 keeps
    none."""
    prefill_share: Share = 0.5
    """Share of a lane's time for calls that read prompts while rows are being decoded."""
    light_rows: Annotated[int, Field(ge=0)] = 4
    """Up to so many rows of a lane, prompts are read by calls of their own; with more, their tokens are read in the
    windows of decoding steps."""
    forced_tokens: Annotated[int, Field(ge=0)] = 512
    """Longest prompt, in tokens, that is read in the windows of decoding steps."""
    encode_tokens: Annotated[int, Field(ge=16)] = 1024
    """Source tokens, padding counted, that are encoded in one call."""
    encode_share: Share = 0.5
    """Share of a lane's time for calls that encode sources while rows are being decoded."""
    classify_tokens: Annotated[int, Field(ge=16)] = 8192
    """Tokens, padding counted, that are classified in one call; of sequence models, frames that are read in one."""
    long_tokens: Annotated[int, Field(ge=16)] = 2048
    """Tokens, padding counted, from which a call that classifies is long: while all lanes make such calls, one more
    makes short ones."""
    max_prompt_tokens: Positive = 32_768
    """Longest prompt, in tokens; over it 422."""
    max_source_tokens: Positive = 1024
    """Longest text to translate, in tokens; over it 422."""
    max_sentence_tokens: Annotated[int, Field(ge=8)] = 128
    """Longest sentence of a text that is translated whole, in tokens, by a model whose bundle does not record the
    longest that it was trained on; a longer one is cut where a clause ends."""
    max_sentiment_tokens: Positive = 8192
    """Longest text to classify, in tokens; over it 422."""
    max_frames: Positive = 8192
    """Most frames of a row in one call of a sequence model (over it 400), or values of a series in a forecast (422)."""
    max_tagging_tokens: Positive = 8192
    """Longest text whose words are labelled, in tokens; over it 422."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Longest request body, in bytes, as it came and unpacked; over it 413."""
    api_keys: Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split)] = ()
    """Secrets of at least 16 characters, commas between; where set, every request that asks a model, and all below /v1,
    needs one of them (authorization: Bearer KEY), and who has the same key is the same client."""
    cors_origins: Names = ()
    """Origins of web pages that may ask from a browser, such as https://example.org, commas between; "*": all. Pages of
    others, but for the server's own, are answered 403."""
    allowed_hosts: Names = ()
    """Names by which the server may be asked (the header Host), commas between, beside localhost and 127.0.0.1; "*":
    any. Listening on other addresses than loopback, further every IP address, the machine's name, names without a dot
    and those below .local, .internal and .svc; with RNNSERVE_API_KEYS and none set here, any. Others are answered 403,
    so that no web page whose name is pointed at the server (DNS rebinding) can ask it."""
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=256)] = ""
    """Path below which a proxy has the server, such as /rnnserve, whether or not the proxy takes it off. Its header
    X-Forwarded-Prefix is not looked at."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(lambda value: _networks(_split(value)))] = ()
    """Addresses or networks of proxies, commas between, whose X-Forwarded-For says who a client is."""
    max_held_bytes: Annotated[int, Field(ge=1 << 16)] = 128 << 20
    """Bytes of the bodies of all requests inside; one more is answered 429."""
    max_connections: Positive = 1000
    """Connections open at once; for one more, the one that has been idle longest is closed, or, where all are in use,
    the new one, with 503. The last quarter is for addresses that have few."""
    max_head_bytes: Annotated[int, Field(ge=1024)] = 32 << 10
    """Longest head of a request (its line and headers), in bytes; over it 431."""
    head_seconds: Annotated[float, Field(gt=0)] = 15.0
    """How long a request's head may take, and a new connection without one; over it 408."""
    max_sessions: Positive = 1000
    """Sessions kept; for one more, the one unused longest goes, of clients that have more than their share."""
    session_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    """Bytes that sessions may take; over it, those unused longest go, of clients that have more than their share."""
    session_ttl_seconds: Annotated[int, Field(ge=1, le=MOST_TTL_SECONDS)] = 3600
    """How long a session is kept unused, where it does not say."""
    max_deleted_sessions: Positive = 100_000
    """Ids of deleted sessions remembered, each until the session would have expired: so long it is answered 410, and a
    state that was taken before is refused. For one more, the one deleted longest ago is forgotten."""
    max_session_tokens: Positive = 131_072
    """Longest session, in tokens, the answer's max_tokens counted; over it 422. To be moved between servers its state,
    4 bytes a token, must fit RNNSERVE_MAX_BODY_BYTES."""
    max_sequences: Positive = 4096
    """Sequences of /v2 kept between their calls; for one more, the one unused longest goes, of clients that have more
    than their share."""
    sequence_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    """Bytes that the states of sequences may take; over it, as for their number."""
    sequence_idle_seconds: Annotated[int, Field(ge=1, le=MOST_TTL_SECONDS)] = 60
    """How long a sequence of /v2 that has not ended is kept unused."""
    session_key: Secret | None = None
    """Secret of at least 16 characters that signs the states of sessions, the same on all servers that they move
    between. Give it as a variable: flags can be seen by others."""
    admin_key: Secret | None = None
    """Secret of at least 16 characters of operators, for GET /v1/sessions and for loading and unloading models at
    /v2/repository (authorization: Bearer KEY); without it nobody may."""
    session_dir: Path | None = None
    """Folder that sessions are written to at SIGTERM and read from at start; with RNNSERVE_SESSION_KEY. Files that
    cannot be continued are removed when their sessions would have expired."""
    lanes: Annotated[int, Field(ge=0, le=256)] = 0
    """Threads that compute for one model, each with rows of its own; 0: one per core. On a GPU one."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads inside one operator of the runtime."""
    window_steps: Annotated[int, Field(ge=1, le=8)] = 8
    """Most decoding steps in one runtime call, and most tokens in one event of a stream. Rows join and leave the batch
    between calls."""
    send_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long a client may take nothing of its answer before it is dropped."""
    stuck_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long one call of the runtime may take; over it the model counts as dead, and the server ends with code 1."""
    grace_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long running requests may take to finish after SIGTERM."""

    @model_validator(mode="after")
    def _written_sessions_are_signed(self) -> Self:
        if self.session_dir is not None and self.session_key is None:
            raise ValueError(
                "RNNSERVE_SESSION_DIR needs RNNSERVE_SESSION_KEY: what is written there is signed, and read again only "
                "if it is. Make a key once: openssl rand -hex 32"
            )
        return self


def settings_from(arguments: Sequence[str], program: str = "python -m server") -> Settings:
    """Settings from command line arguments, the environment, the file that --config names, and defaults, in this order.

    Args:
        arguments: flags and their values.
        program: what --help calls the command.

    Raises:
        ConfigError: a flag, variable or key is unknown or has a value that is not allowed, or the file cannot be read;
            the message names it.
        SystemExit: --help was printed.
    """
    _check_variables(os.environ)
    try:
        flags = CliSettingsSource[Settings](
            Settings,
            cli_prog_name=program,
            cli_parse_args=list(arguments),
            cli_kebab_case=True,
            cli_hide_none_type=True,
            cli_exit_on_error=False,
        )
        file = flags().get("config")
        return Settings(_cli_settings_source=flags, **({"config": file} if file else {}))
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(item) for item in error.errors(include_url=False))) from None
    except SettingsError as error:
        raise ConfigError(_of_arguments(str(error))) from None


def _keys_of(file: Path) -> dict[str, Any]:
    """What a file says. Raises ConfigError."""
    try:
        keys = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config ({PREFIX}CONFIG): {file} cannot be read as TOML: {error}.") from None
    known = Settings.model_fields.keys() - {"config"}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1) or sorted(known)
            raise ConfigError(f"{file}: {ascii(key)[:80]} is not a setting. Did you mean {', '.join(near)}?")
    return keys


def _sentence(item: ErrorDetails) -> str:
    """What is wrong with one setting."""
    name = "_".join(str(part) for part in item["loc"])
    flag, variable = f"--{name.replace('_', '-')}", PREFIX + name.upper()
    if not item["loc"]:
        return item["msg"].removeprefix("Value error, ")
    if name.startswith(SECRETS):  # shown nowhere
        return f"{flag} ({variable}): {item['msg']}"
    return f"{flag} ({variable}): {item['msg']} (got {ascii(item['input'])[:80]})"


def _of_arguments(message: str) -> str:
    """What argparse says of the arguments, with the flag that was meant."""
    message = message.removeprefix("error parsing CLI: ")
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown is None:
        return f"{message}. --help lists the flags."
    flags = ["--" + name.replace("_", "-") for name in Settings.model_fields]
    near = difflib.get_close_matches(unknown[1].partition("=")[0], flags, n=1)
    hint = f"Did you mean {near[0]}?" if near else "--help lists the flags."
    return f"{ascii(unknown[1])[:80]} is not a flag. {hint}"


def _check_variables(variables: Mapping[str, str]) -> None:
    """Raises ConfigError for a variable with our prefix that means nothing: most likely a slip of the pen."""
    known = {PREFIX + field.upper() for field in Settings.model_fields} | OTHER_VARIABLES.keys()
    for name in sorted(variables):
        is_known = name.upper() in known or _is_of_service(name, variables[name])
        if name.startswith(PREFIX) and not is_known:
            near = difflib.get_close_matches(name, known, n=1) or sorted(known)
            raise ConfigError(f"Variable {ascii(name)[:80]} is not a setting. Did you mean {', '.join(near)}?")


def _is_of_service(name: str, value: str | None) -> bool:
    """Whether Kubernetes made a variable of the name of a Service."""
    return _OF_SERVICE.fullmatch(f"{name.upper()}={value}") is not None
