"""The translation table, asked with the real exception classes of the clients."""

from __future__ import annotations

import errno
import socket
import ssl
import zipfile
from typing import Any

import aiohttp
import botocore.exceptions as boto
import pytest
from fsspec.exceptions import FSTimeoutError
from multidict import CIMultiDict, CIMultiDictProxy
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError
from s3fs.errors import translate_boto_error
from yarl import URL

from aiovfs.errors import AiovfsError, OptionError, StaleError
from aiovfs.fs.failures import classify, error_for_status, is_missing_bucket, is_past_end, is_retryable, translate


def client_error(code: str, status: int, message: str = "so says the service") -> boto.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "GetObject")


def aiohttp_answer(status: int) -> aiohttp.ClientResponseError:
    url = URL("http://user:secret@host/file?token=secret")
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(info, (), status=status, message="said the server")


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Unreachable:
    """Enough of aiohttp's connection key for its exceptions to print themselves."""

    host, port, is_ssl, ssl = "host", 80, False, True


def connector_error(number: int) -> aiohttp.ClientConnectorError:
    key: Any = Unreachable()
    return aiohttp.ClientConnectorError(key, OSError(number, "as the system says"))


def dns_error() -> aiohttp.ClientConnectorDNSError:
    key: Any = Unreachable()
    return aiohttp.ClientConnectorDNSError(key, socket.gaierror(-2, "Name or service not known"))


OBSTORE_NO_BUCKET = (
    "Generic S3 error: Error performing GET http://h/nob?list-type=2 in 1ms - Server returned non-2xx status code: 404 "
    "Not Found: <Error><Code>NoSuchBucket</Code></Error>\n\nDebug source:\nGeneric {"
)
OBSTORE_BUSY = "Generic S3 error: ... - Server returned non-2xx status code: 503 Service Unavailable: \n\nDebug source:"
OBSTORE_RANGE = "Generic S3 error: ... non-2xx status code: 416 Range Not Satisfiable: <Code>InvalidRange</Code>\n"
OBSTORE_DOWN = 'Generic S3 error: HTTP error: error sending request\n\nDebug source:\n kind: Connect,\n "x refused"'
OBSTORE_SLOW = "Generic S3 error: HTTP error: request\n\nDebug source:\n inner: Http(HttpError { kind: Timeout, source"
OBSTORE_NO_KEYS = "Generic S3 error: Error getting credentials from InstanceCredentialProvider\n\nDebug"

CASES = [
    (client_error("NoSuchKey", 404), errno.ENOENT, False),
    (client_error("404", 404), errno.ENOENT, False),
    (client_error("NoSuchBucket", 404), errno.ENOENT, False),
    (client_error("AccessDenied", 403), errno.EACCES, False),
    (client_error("InvalidAccessKeyId", 403), errno.EACCES, False),
    (client_error("SignatureDoesNotMatch", 403), errno.EACCES, False),
    (client_error("ExpiredToken", 400), errno.EACCES, False),
    (client_error("SlowDown", 503), errno.ETIMEDOUT, True),
    (client_error("SomethingNew", 503), errno.ETIMEDOUT, True),
    (client_error("SomethingNew", 403), errno.EACCES, False),
    (client_error("InternalError", 500), errno.ETIMEDOUT, True),
    (client_error("PreconditionFailed", 412), errno.ESTALE, False),
    (client_error("EntityTooLarge", 400), errno.EFBIG, False),
    (client_error("NotImplemented", 501), errno.EOPNOTSUPP, False),
    (raised_from(OSError(errno.EBUSY, "slow down"), client_error("SlowDown", 503)), errno.ETIMEDOUT, True),
    (translate_boto_error(client_error("SlowDown", 503)), errno.ETIMEDOUT, True),
    (translate_boto_error(client_error("AccessDenied", 403)), errno.EACCES, False),
    (translate_boto_error(client_error("NoSuchKey", 404)), errno.ENOENT, False),
    (translate_boto_error(client_error("PreconditionFailed", 412)), errno.ESTALE, False),
    (boto.EndpointConnectionError(endpoint_url="http://h"), errno.ECONNREFUSED, True),
    (boto.ConnectTimeoutError(endpoint_url="http://h"), errno.ETIMEDOUT, True),
    (boto.ReadTimeoutError(endpoint_url="http://h"), errno.ETIMEDOUT, True),
    (boto.ConnectionClosedError(endpoint_url="http://h"), errno.ECONNRESET, True),
    (boto.HTTPClientError(error="x"), errno.ECONNRESET, True),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), errno.ECONNRESET, True),
    (boto.SSLError(endpoint_url="http://h", error="certificate"), errno.EPROTO, False),
    (boto.NoCredentialsError(), errno.EACCES, False),
    (boto.ProfileNotFound(profile="p"), errno.EACCES, False),
    (boto.ParamValidationError(report="r"), errno.EINVAL, False),
    (FileNotFoundError("key"), errno.ENOENT, False),
    (raised_from(FileNotFoundError("http://h/x"), TimeoutError()), errno.ETIMEDOUT, True),
    (raised_from(FileNotFoundError("http://h/x"), aiohttp_answer(500)), errno.ETIMEDOUT, True),
    (raised_from(FileNotFoundError("http://h/x"), aiohttp_answer(404)), errno.ENOENT, False),
    (GenericError(OBSTORE_NO_BUCKET), errno.ENOENT, False),
    (GenericError(OBSTORE_BUSY), errno.ETIMEDOUT, True),
    (GenericError(OBSTORE_DOWN), errno.ECONNREFUSED, True),
    (GenericError(OBSTORE_SLOW), errno.ETIMEDOUT, True),
    (GenericError(OBSTORE_NO_KEYS), errno.EACCES, False),
    (GenericError("something else entirely"), errno.EIO, False),
    (AlreadyExistsError("x: 503"), errno.EEXIST, False),
    (PermissionDeniedError("x"), errno.EACCES, False),
    (PreconditionError("x"), errno.ESTALE, False),
    (ValueError('Could not parse path: Path "d//e" contained empty path segment'), errno.EINVAL, False),
    (aiohttp_answer(404), errno.ENOENT, False),
    (aiohttp_answer(401), errno.EACCES, False),
    (aiohttp_answer(429), errno.ETIMEDOUT, True),
    (aiohttp_answer(502), errno.ETIMEDOUT, True),
    (aiohttp_answer(507), errno.ENOSPC, False),
    (aiohttp.TooManyRedirects(aiohttp_answer(302).request_info, ()), errno.ELOOP, False),
    (aiohttp.ServerDisconnectedError(), errno.ECONNRESET, True),
    (aiohttp.ClientPayloadError("not all bytes"), errno.ECONNRESET, True),
    (aiohttp.SocketTimeoutError("read"), errno.ETIMEDOUT, True),
    (aiohttp.ConnectionTimeoutError("connect"), errno.ETIMEDOUT, True),
    (aiohttp.InvalidURL("::"), errno.EINVAL, False),
    (connector_error(errno.ECONNREFUSED), errno.ECONNREFUSED, True),
    (connector_error(errno.ENETUNREACH), errno.ENETUNREACH, True),
    (dns_error(), errno.EHOSTUNREACH, True),
    (socket.gaierror(-3, "Temporary failure in name resolution"), errno.EHOSTUNREACH, True),
    (ssl.SSLError(1, "wrong version number"), errno.EPROTO, False),
    (FSTimeoutError(), errno.ETIMEDOUT, True),
    (TimeoutError(), errno.ETIMEDOUT, True),
    (OSError("Failure"), errno.EIO, False),
    (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC, False),
    (OSError(99999, "no errno of this system"), errno.EIO, False),
    (PermissionError("denied"), errno.EACCES, False),
    (NotADirectoryError("x"), errno.ENOTDIR, False),
    (NotImplementedError(), errno.EOPNOTSUPP, False),
    (zipfile.BadZipFile("not a zip file"), errno.EIO, False),
    (KeyError("our bug"), errno.EIO, False),
    (ExceptionGroup("both", [FileNotFoundError("x"), ValueError()]), errno.ENOENT, False),
]


@pytest.mark.parametrize(("raised", "number", "retryable"), CASES, ids=lambda v: type(v).__name__ if v else "")
def test_every_clients_exception_becomes_the_errno_a_program_expects(
    raised: Exception, number: int, retryable: bool
) -> None:
    translated = translate(raised, "a/b")
    assert isinstance(translated, OSError)
    assert translated.errno == number
    assert is_retryable(raised) is retryable


@pytest.mark.parametrize("raised", [case[0] for case in CASES if case[2]], ids=lambda v: type(v).__name__)
def test_a_failure_that_may_pass_is_never_not_found(raised: Exception) -> None:
    assert not isinstance(translate(raised, "a/b"), FileNotFoundError)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_has_an_errno_and_only_404_and_410_mean_absent(status: int) -> None:
    error = error_for_status(status, "a/b")
    assert isinstance(error, OSError)
    assert error.errno
    assert isinstance(error, FileNotFoundError) == (status in (404, 410))


def test_the_error_names_the_file() -> None:
    error = translate(FileNotFoundError("bucket/root/a/b"), "a/b")
    assert isinstance(error, OSError)
    assert error.filename == "a/b"


def test_the_message_carries_neither_password_nor_token() -> None:
    text = str(translate(aiohttp_answer(403), "file"))
    assert "http://host/file" in text
    assert "secret" not in text


def test_the_message_is_the_services_own() -> None:
    error = translate(translate_boto_error(client_error("InvalidAccessKeyId", 403, "The key does not exist.")), "f")
    assert "InvalidAccessKeyId: The key does not exist." in str(error)


def test_debug_output_of_a_client_is_cut_off() -> None:
    assert "Debug source" not in str(translate(GenericError(OBSTORE_NO_BUCKET), "f"))


def test_a_failed_precondition_of_an_exclusive_write_means_that_the_file_exists() -> None:
    assert isinstance(translate(client_error("PreconditionFailed", 412), "f", exclusive=True), FileExistsError)


def test_a_failed_precondition_of_a_read_means_that_the_file_changed() -> None:
    error = translate(client_error("PreconditionFailed", 412), "f")
    assert isinstance(error, StaleError)
    assert error.filename == "f"


@pytest.mark.parametrize("error", [StaleError("changed"), OptionError("no such option")])
def test_our_own_errors_stay_as_they_are(error: AiovfsError) -> None:
    assert translate(error, "f") is error


def test_an_error_of_the_system_that_names_the_file_stays_as_it_is() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "etc/shadow")
    assert translate(error, "etc/shadow") is error


def test_an_error_that_names_the_file_in_the_backends_way_names_it_in_ours() -> None:
    error = translate(PermissionError(errno.EACCES, "Permission denied", "bucket/etc/shadow"), "etc/shadow")
    assert isinstance(error, PermissionError)
    assert (error.filename, error.strerror) == ("etc/shadow", "Permission denied")


@pytest.mark.parametrize(
    "raised",
    [
        client_error("InvalidRange", 416),
        translate_boto_error(client_error("InvalidRange", 416)),
        GenericError(OBSTORE_RANGE),
        aiohttp_answer(416),
    ],
)
def test_a_range_past_the_end_is_recognised(raised: Exception) -> None:
    assert is_past_end(raised)


@pytest.mark.parametrize("raised", [client_error("NoSuchKey", 404), TimeoutError(), GenericError(OBSTORE_BUSY)])
def test_other_failures_are_not_taken_for_the_end_of_the_file(raised: Exception) -> None:
    assert not is_past_end(raised)


@pytest.mark.parametrize(
    ("raised", "missing"),
    [
        (translate_boto_error(client_error("NoSuchBucket", 404)), True),
        (GenericError(OBSTORE_NO_BUCKET), True),
        (client_error("NoSuchKey", 404), False),
    ],
)
def test_a_missing_bucket_is_told_from_a_missing_object(raised: Exception, missing: bool) -> None:
    assert is_missing_bucket(raised) is missing


def test_paramikos_exceptions_are_known() -> None:
    paramiko = pytest.importorskip("paramiko")
    nowhere = paramiko.ssh_exception.NoValidConnectionsError({("127.0.0.1", 22): ConnectionRefusedError()})
    assert classify(paramiko.AuthenticationException("no")).errno == errno.EACCES
    assert classify(nowhere).errno == errno.ECONNREFUSED
    assert classify(paramiko.SSHException("gone")).errno == errno.ECONNRESET
