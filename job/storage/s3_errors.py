"""boto3's errors as errors of `job.errors`, each with what to do about it."""

import contextlib
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from job.errors import AccessDenied, DataNotFound, JobError, StoreError
from job.storage.store import Rejected

MISSING = {"NoSuchKey", "NoSuchBucket", "InvalidBucketName"}
REGION = "Check AWS_REGION (or AWS_DEFAULT_REGION): the bucket is in another region."
CLOCK = "Set this machine's clock."
CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or a pod role. Public data "
    "needs none: --unsigned-data."
)
FRESH = "Get fresh ones and run the same command again."
POLICY = (
    "Check the policy of these credentials. Without s3:ListBucket a key that does not exist looks "
    "forbidden, too. What the bucket's policy demands of uploads (encryption, an ACL) is set with "
    "--upload-header; data may need --requester-pays."
)
ROLE = "Check AWS_ROLE_ARN, its trust policy and AWS_WEB_IDENTITY_TOKEN_FILE."
STS = (
    f"{ROLE} AWS_ENDPOINT_URL sends STS to that server, too: set AWS_ENDPOINT_URL_S3 in its place."
)
NOT_STS = "an answer that is not STS's, which should give the role's credentials."
ACCOUNT = "Check these credentials and the account that they belong to."
DENIED = {
    "400": "S3 answers so, without a reason, when credentials have expired: get fresh ones.",
    "401": CREDENTIALS,
    "403": POLICY,
    "AccessDenied": POLICY,
    "AccessControlListNotSupported": "The bucket takes no ACLs: leave x-amz-acl out of "
    "--upload-header.",
    "AuthorizationHeaderMalformed": REGION,
    "ExpiredToken": FRESH,
    "ExpiredTokenException": FRESH,
    "IllegalLocationConstraintException": REGION,
    "InvalidAccessKeyId": CREDENTIALS,
    "InvalidClientTokenId": CREDENTIALS,
    "InvalidIdentityToken": ROLE,
    "InvalidObjectState": "The object lies in an archive: restore it first.",
    "InvalidToken": "Check AWS_SESSION_TOKEN.",
    "MethodNotAllowed": "Check that the store takes writes.",
    "NotImplemented": "The store lacks a part of the S3 API.",
    "PermanentRedirect": REGION,
    "RequestExpired": CLOCK,
    "RequestTimeTooSkewed": CLOCK,
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY and AWS_REGION, and that no proxy "
    "changes headers or paths.",
    "TokenRefreshRequired": FRESH,
}
"""Error codes that no retry will heal, and what to do about them."""
TRANSIENT_STATUS = {408, 409, 425, 429}
TRANSIENT = {
    "BandwidthLimitExceeded", "IncompleteBody", "InternalError", "OperationAborted",
    "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled", "RequestTimeout",
    "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
}  # fmt: skip
"""Answers of 4xx that another try may heal; all others are final."""
NAMES = re.compile(r'arn:\S+|"[^"]*"')
"""Parts of a message that are somebody's names, and so no reason."""
FINAL = (
    (
        re.compile(r"(?i)checksum|crc32|sha-?256|digest|trailer|content-?md5|content-?length|sdk-"),
        "If it takes no checksums, as older servers do not: set "
        "AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
        "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required.",
    ),
    (
        re.compile(r"(?i)quota|cap exceeded|StorageFull|InsufficientStorage|LimitExceeded"),
        "Free some space (`mlp-job prune`), or raise the quota.",
    ),
    (
        re.compile(r"(?i)kms|encrypt|\bsse\b"),
        "Check the key and the encryption headers in --upload-header, and that these credentials "
        "may use the key.",
    ),
    (re.compile(r"sts:AssumeRole"), ROLE),
    (re.compile(r"(?i)https"), "Start AWS_ENDPOINT_URL_S3 with https://."),
    (re.compile(r"(?i)region|LocationConstraint"), REGION),
    (re.compile(r"(?i)skew|clock"), CLOCK),
    (re.compile(r"(?i)EntityTooLarge|MaxSize"), "Raise the server's limit on an object's size."),
)
"""What a code or a message speaks of → what to do."""
AGAIN = "Check AWS_ENDPOINT_URL_S3 and the network, and run the same command again."
SETTINGS = "Check AWS_ENDPOINT_URL_S3, AWS_REGION and the name of the bucket."
FILES = (
    "AWS_CA_BUNDLE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip
"""Variables that name a file."""


BAD_HEADER = "Invalid header value"
UNTRUSTED = re.compile(
    r"(?i)certificate|wrong_version|unsupported_protocol|subjectAltName|doesn't match|\[Errno \d+\]"
)
"""What a TLS error speaks of that no other try heals; the last are files that cannot be read."""


@contextlib.contextmanager
def translated(verb: str, uri: str) -> Iterator[None]:
    """Turns every error of boto3 and of the local disk into a JobError.

    Args:
        verb: What is being done to the URI: "read", "write", "list", "delete".
        uri: The object or store that it is done to.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (
        Boto3Error,
        BotoCoreError,
        ClientError,
        ResponseParserError,
        UndefinedModelAttributeError,
        OSError,
    ) as exc:
        raise _failure(f"Expected to {verb} {uri}. Received: ", _origin(exc)) from exc
    except KeyError as exc:
        if f"{os.sep}botocore{os.sep}" not in traceback.extract_tb(exc.__traceback__)[-1].filename:
            raise
        raise AccessDenied(f"Expected to {verb} {uri}. Received: {NOT_STS}", hint=STS) from exc


def code(exc: Exception) -> str:
    """S3's error code, such as NoSuchKey; "" when the server sent none."""
    return str(_error(exc).get("Code") or "")


def status(exc: Exception) -> int:
    """The HTTP status of S3's answer; 0 when there was none."""
    metadata = getattr(exc, "response", {}).get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))


def is_final(exc: Exception) -> bool:
    """Whether what failed without an answer fails again: TLS, or a header of broken settings."""
    from botocore.exceptions import HTTPClientError, SSLError

    if isinstance(exc, HTTPClientError):
        return BAD_HEADER in str(exc)
    return isinstance(exc, SSLError) and UNTRUSTED.search(str(exc)) is not None


def _failure(expected: str, exc: Exception) -> JobError:
    from botocore.exceptions import (
        ClientError,
        MissingDependencyException,
        ProxyConnectionError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(exc, ClientError):
        return _answered(expected, exc)
    if isinstance(exc, _no_credentials()):
        return AccessDenied(expected + str(exc), hint=CREDENTIALS)
    if isinstance(exc, ResponseParserError) and "<html" in str(exc).lower():
        return AccessDenied(expected + NOT_STS, hint=STS)  # S3's own pages have been seen before
    said = str(exc).replace('on endpoint URL: "None"', "in the middle of an answer")
    received = f"{expected}{type(exc).__name__}: {said}"
    for variable in FILES:
        path = os.environ.get(variable)
        if path and not (Path(path).is_file() and os.access(path, os.R_OK)):
            return AccessDenied(
                f"{received} ({variable} names {path}, which is no file that can be read.)",
                hint=f"Mount the file that {variable} names, or unset it.",
            )
    if BAD_HEADER in said:
        return AccessDenied(
            f"{expected}a header that HTTP does not allow.",
            hint="Remove the line breaks from AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN.",
        )
    if isinstance(exc, MissingDependencyException):
        return Rejected(received, hint="Name an access point of one region, or the bucket.")
    if is_final(exc):
        plain = "WRONG_VERSION" in str(exc).upper()
        return Rejected(
            received,
            hint="The server speaks plain HTTP: start AWS_ENDPOINT_URL_S3 with http://."
            if plain
            else "Set AWS_CA_BUNDLE to a PEM file with the authority that signed the server's "
            "certificate, and check the host's name.",
        )
    if isinstance(exc, _wrong_settings()):
        return Rejected(received, hint=SETTINGS)
    proxy = isinstance(exc, ProxyConnectionError)
    return StoreError(received, hint="Check HTTPS_PROXY and NO_PROXY." if proxy else AGAIN)


def _answered(expected: str, exc: Exception) -> JobError:
    """What an answer of S3 means."""
    name, number = code(exc), status(exc)
    message = str(_error(exc).get("Message") or "")
    received = ": ".join(filter(None, (name or f"HTTP status {number}", message)))
    if name in MISSING or number == 404:
        return DataNotFound(expected + received, hint="Check the bucket and the key.")
    said = NAMES.sub("", f"{name} {message}")
    hint = next((hint for pattern, hint in FINAL if pattern.search(said)), None)
    if "quota" in name.lower():
        return Rejected(expected + received, hint=hint or AGAIN)
    if name in {"MethodNotAllowed", "NotImplemented"}:
        return Rejected(expected + received, hint=hint or DENIED[name])
    if name in DENIED or number in {401, 403}:
        known = DENIED.get(name, ACCOUNT)
        is_vague = known in (POLICY, ACCOUNT)
        return AccessDenied(expected + received, hint=hint or known if is_vague else known)
    if 300 <= number < 500 and number not in TRANSIENT_STATUS and name not in TRANSIENT:
        return Rejected(expected + received, hint=hint or SETTINGS)
    return StoreError(expected + received, hint=hint if hint and number == 507 else AGAIN)


def _no_credentials() -> tuple[type[Exception], ...]:
    from botocore import exceptions as e

    return (
        e.ConfigNotFound,
        e.ConfigParseError,
        e.CredentialRetrievalError,
        e.InvalidConfigError,
        e.LoginError,
        e.NoAuthTokenError,
        e.NoCredentialsError,
        e.PartialCredentialsError,
        e.ProfileNotFound,
        e.RefreshWithMFAUnsupportedError,
        e.SSOError,
        e.TokenRetrievalError,
        e.UnknownCredentialError,
        e.UnknownTokenProviderError,
    )


def _wrong_settings() -> tuple[type[Exception], ...]:
    from botocore import exceptions as e

    return (
        e.EndpointProviderError,
        e.InvalidRegionError,
        e.NoRegionError,
        e.ParamValidationError,
        e.UnsupportedS3AccesspointConfigurationError,
        e.UnsupportedS3ArnError,
        e.UnsupportedS3ConfigurationError,
    )


def _origin(exc: Exception) -> Exception:
    """The error inside the two wrappers that boto3's file transfers add."""
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError

    inner: object = None
    if isinstance(exc, RetriesExceededError):
        inner = exc.last_exception
    elif isinstance(exc, S3UploadFailedError):
        inner = exc.__context__
    return inner if isinstance(inner, Exception) else exc


def _error(exc: Exception) -> dict[str, object]:
    error: dict[str, object] = getattr(exc, "response", {}).get("Error", {})
    return error
