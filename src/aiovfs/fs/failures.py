"""What went wrong in a store, as an `OSError` with an errno: one table for all clients.

Two questions are answered about an exception of botocore, obstore, aiohttp, fsspec, paramiko, …: which errno a program
would expect, and whether trying again may help. The rows name classes by package and name, never by import, so that no
client has to be installed. Order of judgement, first match wins:

1. our own errors stay as they are;
2. an exception that carries a service's error code (botocore) is judged by that code, then by its HTTP status;
   so is an exception raised *from* one: s3fs hides throttling behind EBUSY, and fsspec's HTTP client answers
   "file not found" when the server was down;
3. an HTTP status in an attribute (`status`, `status_code`, `code`);
4. an errno of its own, where that is a real one (SSL and name resolution number theirs differently);
5. its class, or the nearest base class with a row;
6. words in its message, for clients whose exceptions carry nothing else (obstore);
7. EIO.

Rules for people who edit this: a failure that may go away by itself never becomes ENOENT. Retrying is for the caller
(`fs.retries`), which knows the deadline; here it is only said whether it makes sense.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeGuard

from aiovfs.errors import AiovfsError, StaleError

__all__ = [
    "Failure",
    "classify",
    "error_for_status",
    "is_missing_bucket",
    "is_past_end",
    "is_push_back",
    "is_retryable",
    "translate",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """The verdict: the errno to report, and whether the same request may succeed a little later."""

    errno: int
    retryable: bool = False


_LATER = Failure(errno.ETIMEDOUT, retryable=True)
_REFUSED = Failure(errno.EACCES)
_LOST = Failure(errno.ECONNRESET, retryable=True)
_UNREACHABLE = Failure(errno.ECONNREFUSED, retryable=True)
_CHANGED = Failure(errno.ESTALE)
_INVALID = Failure(errno.EINVAL)
_ABSENT = Failure(errno.ENOENT)
_UNSUPPORTED = Failure(errno.EOPNOTSUPP)
_UNKNOWN = Failure(errno.EIO)

BY_STATUS = {
    400: _INVALID,
    401: _REFUSED,
    402: _REFUSED,
    403: _REFUSED,
    404: _ABSENT,
    405: _UNSUPPORTED,
    407: _REFUSED,
    408: _LATER,
    409: _CHANGED,
    410: _ABSENT,
    411: _INVALID,
    412: _CHANGED,
    413: Failure(errno.ENOSPC),
    414: Failure(errno.ENAMETOOLONG),
    416: _INVALID,
    423: Failure(errno.EBUSY, retryable=True),
    425: _LATER,
    429: _LATER,
    451: _REFUSED,
    501: _UNSUPPORTED,
    505: _UNSUPPORTED,
    507: Failure(errno.ENOSPC),
}
"""HTTP statuses. Those missing here: other 5xx may pass by themselves, anything else is EIO."""

BY_CODE = {
    "AccessDenied": _REFUSED,
    "AllAccessDisabled": _REFUSED,
    "AuthFailure": _REFUSED,
    "AuthorizationHeaderMalformed": _REFUSED,
    "BadDigest": Failure(errno.EIO, retryable=True),
    "BucketAlreadyExists": Failure(errno.EEXIST),
    "BucketAlreadyOwnedByYou": Failure(errno.EEXIST),
    "BucketNotEmpty": Failure(errno.ENOTEMPTY),
    "ConditionalRequestConflict": _CHANGED,
    "EntityTooLarge": Failure(errno.EFBIG),
    "ExpiredToken": _REFUSED,
    "IncompleteBody": _LOST,
    "InternalError": _LATER,
    "InvalidAccessKeyId": _REFUSED,
    "InvalidBucketName": _INVALID,
    "InvalidObjectState": _REFUSED,
    "InvalidRange": _INVALID,
    "InvalidToken": _REFUSED,
    "KeyTooLongError": Failure(errno.ENAMETOOLONG),
    "NoSuchBucket": _ABSENT,
    "NoSuchKey": _ABSENT,
    "NoSuchUpload": _CHANGED,
    "NoSuchVersion": _ABSENT,
    "NotFound": _ABSENT,
    "NotImplemented": _UNSUPPORTED,
    "OperationAborted": Failure(errno.EBUSY, retryable=True),
    "PreconditionFailed": _CHANGED,
    "QuotaExceeded": Failure(errno.ENOSPC),
    "RequestLimitExceeded": _LATER,
    "RequestTimeTooSkewed": _REFUSED,
    "RequestTimeout": _LATER,
    "ServiceUnavailable": _LATER,
    "SignatureDoesNotMatch": _REFUSED,
    "SlowDown": _LATER,
    "Throttling": _LATER,
    "ThrottlingException": _LATER,
    "TooManyRequests": _LATER,
    "XMinioStorageFull": Failure(errno.ENOSPC),
}
"""Error codes of S3 and of the services that speak its protocol."""

_PUSH_BACK_CODES = frozenset(
    {
        "RequestLimitExceeded",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "429",
        "503",
    }
)

BY_CLASS = {
    "aiohttp.ClientConnectionError": _LOST,
    "aiohttp.ClientConnectorDNSError": Failure(errno.EHOSTUNREACH, retryable=True),
    "aiohttp.ClientPayloadError": _LOST,
    "aiohttp.ClientSSLError": Failure(errno.EPROTO),
    "aiohttp.InvalidURL": _INVALID,
    "aiohttp.NonHttpUrlClientError": _INVALID,
    "aiohttp.ServerFingerprintMismatch": Failure(errno.EPROTO),
    "aiohttp.ServerTimeoutError": _LATER,
    "aiohttp.TooManyRedirects": Failure(errno.ELOOP),
    "azure.ClientAuthenticationError": _REFUSED,
    "azure.ResourceExistsError": Failure(errno.EEXIST),
    "azure.ResourceModifiedError": _CHANGED,
    "azure.ResourceNotFoundError": _ABSENT,
    "azure.ServiceRequestError": _UNREACHABLE,
    "azure.ServiceResponseError": _LOST,
    "botocore.ConnectTimeoutError": _LATER,
    "botocore.ConnectionClosedError": _LOST,
    "botocore.ConnectionError": _UNREACHABLE,
    "botocore.CredentialRetrievalError": _REFUSED,
    "botocore.FlexibleChecksumError": Failure(errno.EIO, retryable=True),
    "botocore.HTTPClientError": _LOST,
    "botocore.IncompleteReadError": _LOST,
    "botocore.InvalidRegionError": _INVALID,
    "botocore.LoginError": _REFUSED,
    "botocore.NoAuthTokenError": _REFUSED,
    "botocore.NoCredentialsError": _REFUSED,
    "botocore.ParamValidationError": _INVALID,
    "botocore.PartialCredentialsError": _REFUSED,
    "botocore.ProfileNotFound": _REFUSED,
    "botocore.ReadTimeoutError": _LATER,
    "botocore.ResponseParserError": Failure(errno.EIO, retryable=True),
    "botocore.SSLError": Failure(errno.EPROTO),
    "botocore.SSOError": _REFUSED,
    "botocore.TokenRetrievalError": _REFUSED,
    "builtins.BlockingIOError": Failure(errno.EAGAIN, retryable=True),
    "builtins.BrokenPipeError": Failure(errno.EPIPE, retryable=True),
    "builtins.ConnectionError": _LOST,
    "builtins.ConnectionRefusedError": _UNREACHABLE,
    "builtins.FileExistsError": Failure(errno.EEXIST),
    "builtins.FileNotFoundError": _ABSENT,
    "builtins.InterruptedError": Failure(errno.EINTR),
    "builtins.IsADirectoryError": Failure(errno.EISDIR),
    "builtins.MemoryError": Failure(errno.ENOMEM),
    "builtins.NotADirectoryError": Failure(errno.ENOTDIR),
    "builtins.NotImplementedError": _UNSUPPORTED,
    "builtins.PermissionError": _REFUSED,
    "builtins.TimeoutError": _LATER,
    "builtins.UnicodeError": Failure(errno.EILSEQ),
    "gcsfs.ChecksumError": Failure(errno.EIO, retryable=True),
    "google.DefaultCredentialsError": _REFUSED,
    "google.RefreshError": _REFUSED,
    "google.TransportError": _LOST,
    "io.UnsupportedOperation": _UNSUPPORTED,
    "obstore.AlreadyExistsError": Failure(errno.EEXIST),
    "obstore.InvalidPathError": _INVALID,
    "obstore.NotFoundError": _ABSENT,
    "obstore.NotSupportedError": _UNSUPPORTED,
    "obstore.PermissionDeniedError": _REFUSED,
    "obstore.PreconditionError": _CHANGED,
    "obstore.UnauthenticatedError": _REFUSED,
    "paramiko.AuthenticationException": _REFUSED,
    "paramiko.BadHostKeyException": _REFUSED,
    "paramiko.NoValidConnectionsError": _UNREACHABLE,
    "paramiko.SSHException": _LOST,
    "requests.ConnectionError": _UNREACHABLE,
    "requests.Timeout": _LATER,
    "socket.gaierror": Failure(errno.EHOSTUNREACH, retryable=True),
    "ssl.SSLError": Failure(errno.EPROTO),
}
"""Classes by top-level package and name; a subclass without a row is judged by its nearest base class."""

# Words of obstore's exceptions, which carry a Rust debug print and nothing else. Looked for in this order.
BY_WORDS = (
    (re.compile(r"Connection refused|kind: Connect\b|dns error|failed to lookup"), _UNREACHABLE),
    (re.compile(r"kind: Timeout|TimedOut|operation timed out"), _LATER),
    (re.compile(r"kind: (?:Interrupted|Decode|Body|Unknown)\b|connection (?:closed|reset)|IncompleteMessage"), _LOST),
    (re.compile(r"(?:[Cc]redential|InstanceCredentialProvider|TokenRequest|metadata endpoint)"), _REFUSED),
    (re.compile(r"Could not parse path|Error parsing Path"), _INVALID),
)

# Classes that say nothing but their message.
_SPEAKING_ONLY = frozenset({"obstore.BaseError", "builtins.ValueError"})

_RETRYABLE_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)

# Their `errno` is a number of another list: SSL_ERROR_SSL is 1, which would read as EPERM.
_ERRNO_OF_ANOTHER_LIST = frozenset({"ssl.SSLError", "socket.gaierror"})

_STATUS_WORDS = re.compile(r"non-2xx status code: (\d{3})|status: (\d{3}),")
_CODE_WORDS = re.compile(r"<Code>(\w+)</Code>")
_URL_WORDS = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/@'\"]*@)?([^\s?#'\")]*)(?:[?#][^\s'\")]*)?")
_LONGEST_MESSAGE = 300


def classify(exc: BaseException) -> Failure:
    """Judge an exception of any store's client; see the order at the head of this module."""
    if isinstance(exc, AiovfsError):
        return Failure(getattr(exc, "errno", None) or errno.EIO)
    if isinstance(exc, BaseExceptionGroup):
        return classify(exc.exceptions[0])
    return (
        _by_service(exc)
        or _by_cause(exc)
        or _by_attribute(exc)
        or _by_errno(exc)
        or _by_words(exc)
        or _by_class(exc)
        or _UNKNOWN
    )


def is_retryable(exc: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return classify(exc).retryable


def is_past_end(exc: BaseException) -> bool:
    """Whether the store refused a range because it starts at or after the end of the file: read nothing then."""
    return any(
        code in ("InvalidRange", "416") or status == 416
        for each in _chain(exc)
        for code, status in (_service_code(each), _words_code(each), (None, _status(each)))
    )


def is_push_back(exc: BaseException) -> bool:
    """Whether the server refused because it is asked too much at once: it did nothing, and wants fewer requests."""
    return any(
        code in _PUSH_BACK_CODES or status in (429, 503)
        for each in _chain(exc)
        for code, status in (_service_code(each), _push_back_words(each), (None, _status(each)))
    )


def _push_back_words(exc: BaseException) -> tuple[str | None, int | None]:
    """By the message, for clients that keep the answer nowhere else."""
    return _words_code(exc) if next(_class_names(exc), "").startswith("obstore.") else (None, None)


def is_missing_bucket(exc: BaseException) -> bool:
    """Whether the store said that the bucket, and not the object in it, does not exist."""
    return any(
        code in ("NoSuchBucket", "NoSuchContainer", "ContainerNotFound")
        for each in _chain(exc)
        for code, _ in (_service_code(each), _words_code(each))
    )


def translate(exc: Exception, path: str = "", *, exclusive: bool = False) -> OSError | AiovfsError:
    """The error to raise in place of `exc`, about `path`. Raise it `from exc`.

    With `exclusive`, a failed precondition means that the file is there already, else that it changed.
    """
    if isinstance(exc, AiovfsError):
        return exc
    number = classify(exc).errno
    if number == errno.ESTALE and exclusive:
        number = errno.EEXIST
    if number == errno.ESTALE:
        return _stale(path)
    if _says_it_already(exc, number, path):
        return exc
    return OSError(number, _message(exc, number), path or None)


def error_for_status(status: int, path: str, *, detail: str = "", exclusive: bool = False) -> OSError | AiovfsError:
    """The error for an HTTP answer that no client library raised for us."""
    number = _judge_status(status).errno
    if number == errno.ESTALE and exclusive:
        number = errno.EEXIST
    if number == errno.ESTALE:
        return _stale(path)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "an unknown status"
    text = f"the server answered {status} {phrase}"
    return OSError(number, f"{text}: {detail}" if detail else text, path or None)


def _says_it_already(exc: Exception, number: int, path: str) -> TypeGuard[OSError]:
    """Whether `exc` is the system's own error with the right number, about `path` (or any path, when none is given)."""
    if type(exc).__module__ != "builtins" or not isinstance(exc, OSError) or exc.errno != number:
        return False
    return exc.filename is not None and path in ("", exc.filename)


def _stale(path: str) -> StaleError:
    error = StaleError(f"{path or 'the file'} was replaced in the store since it was opened", hint="open it again")
    error.filename = path or None
    return error


def _by_service(exc: BaseException) -> Failure | None:
    """By the error code and HTTP status that the service sent, where the exception keeps them (botocore)."""
    code, status = _service_code(exc)
    if code in BY_CODE:
        return BY_CODE[code]
    if status is None and code is not None and code.isdigit():
        status = int(code)
    return None if status is None else _judge_status(status)


def _by_cause(exc: BaseException) -> Failure | None:
    """By what the exception was raised from, when that knows better."""
    cause = exc.__cause__
    if cause is None or not isinstance(exc, OSError):
        return None
    if any(_service_code(each) != (None, None) for each in _chain(cause)):
        return classify(cause)
    verdict = classify(cause)
    # "Not found, because the server did not answer" is not "not found".
    return verdict if isinstance(exc, FileNotFoundError) and verdict.retryable else None


def _by_attribute(exc: BaseException) -> Failure | None:
    status = _status(exc)
    return None if status is None or 200 <= status < 400 else _judge_status(status)


def _by_errno(exc: BaseException) -> Failure | None:
    if not isinstance(exc, OSError) or not _is_errno(exc.errno) or _ERRNO_OF_ANOTHER_LIST & set(_class_names(exc)):
        return None
    assert exc.errno is not None
    return Failure(exc.errno, exc.errno in _RETRYABLE_ERRNOS)


def _by_words(exc: BaseException) -> Failure | None:
    """By the message, for clients whose fallback class says nothing. Classes with a row of their own know better."""
    if not any(
        name in ("obstore.GenericError", "obstore.BaseError", "builtins.ValueError") for name in _class_names(exc)
    ):
        return None
    if any(name in BY_CLASS for name in _class_names(exc)):
        return None
    code, status = _words_code(exc)
    if code in BY_CODE:
        return BY_CODE[code]
    if status is not None:
        return _judge_status(status)
    text = str(exc)
    return next((failure for words, failure in BY_WORDS if words.search(text)), None)


def _by_class(exc: BaseException) -> Failure | None:
    return next((BY_CLASS[name] for name in _class_names(exc) if name in BY_CLASS), None)


def _judge_status(status: int) -> Failure:
    known = BY_STATUS.get(status)
    if known is not None:
        return known
    return _LATER if status >= 500 else _UNKNOWN


def _service_code(exc: BaseException) -> tuple[str | None, int | None]:
    """The error code and HTTP status of an exception that holds the service's answer as botocore does."""
    response = getattr(exc, "response", None)
    if not isinstance(response, dict):
        return None, None
    code = (response.get("Error") or {}).get("Code")
    status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    return None if code is None else str(code), status if isinstance(status, int) else None


def _words_code(exc: BaseException) -> tuple[str | None, int | None]:
    text = str(exc)
    code, status = _CODE_WORDS.search(text), _STATUS_WORDS.search(text)
    return code and code[1], int(status[1] or status[2]) if status else None


def _status(exc: BaseException) -> int | None:
    """An HTTP status in one of the attributes that clients use for it."""
    for holder in (exc, getattr(exc, "response", None)):
        # Only what is stored: reading a deprecated property (aiohttp's `code`) warns.
        attributes = getattr(holder, "__dict__", {})
        for name in ("status", "status_code", "code"):
            value = attributes.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
                return int(value)
    return None


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, at most a few deep."""
    current: BaseException | None = exc
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__


def _class_names(exc: BaseException) -> Iterator[str]:
    for cls in type(exc).__mro__:
        yield f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def _is_errno(number: object) -> bool:
    return isinstance(number, int) and number in errno.errorcode


def _message(exc: Exception, number: int) -> str:
    """One line of what the client said, without secrets; the system's words when it said nothing."""
    service = next((m for m in (_service_message(each) for each in _chain(exc)) if m), None)
    text = service or (exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc))
    line = _URL_WORDS.sub(r"\1\2", str(text).strip().partition("\n")[0]).strip()
    if not line:
        return f"{os.strerror(number)} ({type(exc).__name__})"
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def _service_message(exc: BaseException) -> str | None:
    code, _ = _service_code(exc)
    if code is None:
        return None
    message = (getattr(exc, "response", {}).get("Error") or {}).get("Message")
    return f"{code}: {message}" if message else code
