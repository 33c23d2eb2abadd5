"""fsspec's options in obstore's words."""

from __future__ import annotations

import json

import pytest

from aiovfs.fs.object_options import UntranslatableError, obstore_options

KEYS = {"key": "k", "secret": "s"}


def test_keys_region_and_endpoint_are_translated() -> None:
    options = obstore_options(
        "s3", {**KEYS, "token": "t", "endpoint_url": "http://h:9000", "client_kwargs": {"region_name": "eu-west-1"}}, {}
    )
    assert options.config == {
        "access_key_id": "k",
        "secret_access_key": "s",
        "session_token": "t",
        "endpoint": "http://h:9000",
        "region": "eu-west-1",
        "disable_bulk_delete": True,
    }
    assert options.client_options["allow_http"] is True


def test_anonymous_access_skips_signatures() -> None:
    assert obstore_options("s3", {"anon": True}, {}).config["skip_signature"] is True


def test_the_environment_gives_endpoint_and_region_when_options_do_not() -> None:
    environ = {"AWS_ENDPOINT_URL": "https://e", "AWS_DEFAULT_REGION": "r", "AWS_ACCESS_KEY_ID": "k"}
    options = obstore_options("s3", {}, environ)
    assert (options.config["endpoint"], options.config["region"]) == ("https://e", "r")


def test_options_win_over_the_environment() -> None:
    environ = {"AWS_ENDPOINT_URL": "https://e", "AWS_REGION": "r"}
    options = obstore_options("s3", {**KEYS, "endpoint_url": "https://o", "region": "o"}, environ)
    assert (options.config["endpoint"], options.config["region"]) == ("https://o", "o")


def test_the_service_specific_endpoint_wins_over_the_general_one() -> None:
    environ = {"AWS_ENDPOINT_URL": "https://general", "AWS_ENDPOINT_URL_S3": "https://s3"}
    assert obstore_options("s3", KEYS, environ).config["endpoint"] == "https://s3"


def test_addressing_style_and_timeouts_of_botocore_are_translated() -> None:
    config = {"s3": {"addressing_style": "virtual"}, "connect_timeout": 2, "read_timeout": 0.5}
    options = obstore_options("s3", {**KEYS, "config_kwargs": config}, {})
    assert options.config["virtual_hosted_style_request"] is True
    assert (options.client_options["connect_timeout"], options.client_options["read_timeout"]) == ("2000ms", "500ms")


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        (False, ("allow_invalid_certificates", True)),
        ("/ca.pem", ("root_certificate_file", "/ca.pem")),
        (None, ("root_certificate_file", "/bundle.pem")),
    ],
)
def test_certificates_are_checked_as_botocore_would(verify: object, expected: tuple[str, object]) -> None:
    options = obstore_options("s3", {**KEYS, "client_kwargs": {"verify": verify}}, {"AWS_CA_BUNDLE": "/bundle.pem"})
    assert expected in options.client_options.items()


def test_options_that_only_tune_fsspecs_client_are_passed_over() -> None:
    obstore_options("s3", {**KEYS, "default_block_size": 1, "use_listings_cache": False, "max_concurrency": 3}, {})


@pytest.mark.parametrize(
    ("options", "environ", "reason"),
    [
        ({**KEYS, "profile": "p"}, {}, "'profile'"),
        ({**KEYS, "version_aware": True}, {}, "'version_aware'"),
        ({**KEYS, "client_kwargs": {"config": 1}}, {}, r"client_kwargs\['config'\]"),
        ({**KEYS, "config_kwargs": {"proxies": {}}}, {}, r"config_kwargs\['proxies'\]"),
        ({}, {"AWS_PROFILE": "p"}, "AWS_PROFILE"),
        ({}, {}, "credentials that are neither"),
    ],
)
def test_what_obstore_has_no_word_for_is_said(options: dict[str, object], environ: dict[str, str], reason: str) -> None:
    with pytest.raises(UntranslatableError, match=reason):
        obstore_options("s3", options, environ)


def test_obstores_own_options_are_handed_on_and_win() -> None:
    options = obstore_options(
        "s3",
        {**KEYS, "config": {"region": "mine"}, "client_options": {"timeout": "3s"}, "retry_config": {"max_retries": 1}},
        {"AWS_REGION": "r"},
    )
    assert options.config["region"] == "mine"
    assert options.client_options["timeout"] == "3s"
    assert options.retry_config["max_retries"] == 1


def test_google_tokens_are_translated() -> None:
    assert obstore_options("gs", {"token": "anon", "project": "p"}, {}).config == {"skip_signature": True}
    local = obstore_options("gs", {"token": "anon", "endpoint_url": "http://h:1"}, {})
    assert json.loads(local.config["service_account_key"])["gcs_base_url"] == "http://h:1"
    assert local.client_options["allow_http"]
    assert obstore_options("gs", {"token": "/key.json"}, {}).config == {"application_credentials": "/key.json"}
    with pytest.raises(UntranslatableError):
        obstore_options("gs", {"token": {"a": "dictionary"}}, {})


def test_azure_accounts_are_translated() -> None:
    options = obstore_options("az", {"account_name": "a", "account_key": "k", "sas_token": "?sig=x"}, {})
    assert options.config == {"account_name": "a", "account_key": "k", "sas_key": "sig=x"}
    with pytest.raises(UntranslatableError, match="connection string"):
        obstore_options("az", {"connection_string": "c"}, {})
    text = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=k==;BlobEndpoint=http://h:1/a;"
    options = obstore_options("az", {"connection_string": text}, {})
    assert options.config == {"account_name": "a", "account_key": "k==", "endpoint": "http://h:1/a"}
    assert options.client_options["allow_http"]
