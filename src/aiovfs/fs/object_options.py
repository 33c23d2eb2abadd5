"""fsspec's options for object stores, in obstore's words.

Pure: options and environment in, obstore's three dictionaries out. `UntranslatableError` says which option, or which
source of credentials, only fsspec's own client understands; the caller then uses that client.

Source: the signatures of s3fs.S3FileSystem, gcsfs.GCSFileSystem and adlfs.AzureBlobFileSystem; obstore's S3Config,
GCSConfig, AzureConfig, ClientConfig and RetryConfig.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

__all__ = ["NATIVE", "ObstoreOptions", "UntranslatableError", "obstore_options"]

NATIVE = ("config", "client_options", "retry_config", "credential_provider")
"""obstore's own options. They are handed on as they are, and win."""

# fsspec's options about things that do not exist here, or that only tune fsspec's own client.
_WITHOUT_MEANING = frozenset(
    {
        "asynchronous",
        "batch_size",
        "cache_regions",
        "cache_timeout",
        "check_connection",
        "consistency",
        "default_block_size",
        "default_cache_type",
        "default_fill_cache",
        "fixed_upload_size",
        "listings_expiry_time",
        "local_expiry_check",
        "loop",
        "max_concurrency",
        "max_paths",
        "project",
        "retries",
        "skip_instance_cache",
        "use_listings_cache",
    }
)


class UntranslatableError(Exception):
    """obstore has no word for this; the message says what for."""


@dataclass(slots=True)
class ObstoreOptions:
    """What obstore's stores are made with."""

    config: dict[str, Any] = field(default_factory=dict)
    client_options: dict[str, Any] = field(
        # A whole request may take as long as its bytes keep coming; silence may not.
        default_factory=lambda: {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "1h"}
    )
    retry_config: dict[str, Any] = field(
        default_factory=lambda: {
            "max_retries": 5,
            "retry_timeout": timedelta(seconds=30),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }
    )
    credential_provider: Any = None


def obstore_options(protocol: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> ObstoreOptions:
    """Translate the options of one protocol ("s3", "gs", "az")."""
    result = ObstoreOptions()
    rest = {name: value for name, value in options.items() if name not in _WITHOUT_MEANING and value is not None}
    native = {name: rest.pop(name) for name in NATIVE if name in rest}
    _TRANSLATORS[protocol](result, rest, environ)
    if rest:
        raise UntranslatableError(f"the option {min(rest)!r}")
    result.config |= native.get("config") or {}
    result.client_options |= native.get("client_options") or {}
    result.retry_config |= native.get("retry_config") or {}
    result.credential_provider = native.get("credential_provider")
    if protocol == "s3":
        _check_s3_credentials(result, environ)
    return result


def _take(rest: dict[str, Any], *names: str) -> Any:
    """The first of these options that is given; all are removed."""
    values = [rest.pop(name) for name in names if name in rest]
    return next((value for value in values if value not in (None, "")), None)


def _set(config: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        config[name] = value


def _s3(result: ObstoreOptions, rest: dict[str, Any], environ: Mapping[str, str]) -> None:
    client = dict(rest.pop("client_kwargs", None) or {})
    config = result.config
    _set(config, "access_key_id", _take(rest, "key", "username") or _take(client, "aws_access_key_id"))
    _set(config, "secret_access_key", _take(rest, "secret", "password") or _take(client, "aws_secret_access_key"))
    _set(config, "session_token", _take(rest, "token") or _take(client, "aws_session_token"))
    region = _take(rest, "region", "region_name") or _take(client, "region_name")
    _set(config, "region", region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"))
    endpoint = (
        _take(rest, "endpoint_url")
        or _take(client, "endpoint_url")
        or environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
    )
    _set(config, "endpoint", endpoint)
    if rest.pop("anon", False):
        config["skip_signature"] = True
    if rest.pop("requester_pays", False):
        config["request_payer"] = True
    uses_tls = rest.pop("use_ssl", client.pop("use_ssl", True))
    if not uses_tls and endpoint is None:
        raise UntranslatableError("use_ssl=False without an endpoint_url")
    _tls(result, client.pop("verify", None), environ.get("AWS_CA_BUNDLE"), endpoint)
    _s3_config_kwargs(result, dict(rest.pop("config_kwargs", None) or {}))
    if client:
        raise UntranslatableError(f"client_kwargs[{min(client)!r}]")
    if not rest.get("version_aware", True):
        del rest["version_aware"]
    if endpoint is not None:
        # Few servers but Amazon's know the bulk call.
        config["disable_bulk_delete"] = True


def _s3_config_kwargs(result: ObstoreOptions, kwargs: dict[str, Any]) -> None:
    """What s3fs would give to botocore's `Config`."""
    kwargs.pop("max_pool_connections", None)
    kwargs.pop("retries", None)
    for name in ("connect_timeout", "read_timeout"):
        if name in kwargs:
            result.client_options[name] = f"{max(1, round(float(kwargs.pop(name)) * 1000))}ms"
    if kwargs.get("signature_version") in ("s3v4", "v4"):
        del kwargs["signature_version"]
    style = (kwargs.pop("s3", None) or {}).get("addressing_style", "auto")
    if style == "virtual":
        result.config["virtual_hosted_style_request"] = True
    if kwargs:
        raise UntranslatableError(f"config_kwargs[{min(kwargs)!r}]")


def _check_s3_credentials(result: ObstoreOptions, environ: Mapping[str, str]) -> None:
    """Keys and the sources that obstore reads by itself are fine; profiles, SSO and the like are botocore's."""
    config = result.config
    if config.get("skip_signature") or result.credential_provider is not None:
        return
    if config.get("access_key_id") or config.get("aws_access_key_id"):
        return
    if "AWS_PROFILE" in environ:
        raise UntranslatableError("AWS_PROFILE")
    known = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if not any(environ.get(name) for name in (*known, "AWS_CONTAINER_CREDENTIALS_FULL_URI")):
        raise UntranslatableError("credentials that are neither options nor in the environment")


def _gs(result: ObstoreOptions, rest: dict[str, Any], environ: Mapping[str, str]) -> None:
    token = _take(rest, "token")
    endpoint = _take(rest, "endpoint_url") or environ.get("STORAGE_EMULATOR_HOST")
    if token == "anon" or rest.pop("anon", False):
        if endpoint is not None:
            # Without a signature obstore only reads. An account of nobody's, which the endpoint does not check, writes.
            nobody = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
            result.config["service_account_key"] = json.dumps({**nobody, "private_key_id": ""})
            return _tls(result, None, None, endpoint)
        result.config["skip_signature"] = True
    elif isinstance(token, str) and token.endswith(".json"):
        result.config["application_credentials"] = token
    elif token not in (None, "google_default"):
        raise UntranslatableError("this kind of token")
    _set(result.config, "base_url", endpoint)
    _tls(result, None, None, endpoint)


def _az(result: ObstoreOptions, rest: dict[str, Any], environ: Mapping[str, str]) -> None:
    said = _connection_string(_take(rest, "connection_string") or "")
    rest |= {name: value for name, value in said.items() if rest.get(name) in (None, "")}
    for name in ("account_name", "account_key", "tenant_id", "client_id", "client_secret"):
        _set(result.config, name, _take(rest, name))
    sas = _take(rest, "sas_token")
    if sas is not None:
        result.config["sas_key"] = str(sas).removeprefix("?")
    if rest.pop("anon", False):
        result.config["skip_signature"] = True
    endpoint = _take(rest, "endpoint_url", "account_url")
    _set(result.config, "endpoint", endpoint)
    _tls(result, None, None, endpoint)


_OF_CONNECTION_STRING = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "blobendpoint": "endpoint_url",
    "sharedaccesssignature": "sas_token",
}


def _connection_string(text: str) -> dict[str, str]:
    """Azure's `Name=value;…`, as options. `UntranslatableError` for parts that say where or who, and are not known."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = part.partition("=")
        name = name.lower()
        if name in _OF_CONNECTION_STRING:
            found[_OF_CONNECTION_STRING[name]] = value
        elif name == "endpointsuffix" and value != "core.windows.net":
            raise UntranslatableError(f"the endpoint suffix {value!r} of a connection string")
        elif name == "usedevelopmentstorage":
            raise UntranslatableError("UseDevelopmentStorage in a connection string")
    if text and "account_name" not in found and "endpoint_url" not in found:
        raise UntranslatableError("a connection string without an account")
    return found


def _tls(result: ObstoreOptions, verify: Any, bundle: str | None, endpoint: str | None) -> None:
    if endpoint is not None and str(endpoint).startswith("http://"):
        result.client_options["allow_http"] = True
    elif verify is False:
        result.client_options["allow_invalid_certificates"] = True
    elif isinstance(verify, str) or bundle:
        result.client_options["root_certificate_file"] = verify if isinstance(verify, str) else bundle


_TRANSLATORS: dict[str, Callable[[ObstoreOptions, dict[str, Any], Mapping[str, str]], None]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}
