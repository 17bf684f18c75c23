"""What boto3 raises, told in the words of `job.errors`."""

import contextlib
from collections.abc import Iterator

from job.errors import AccessDenied, DataNotFound, JobError, StoreError

MISSING = {"NoSuchKey", "NoSuchBucket", "InvalidBucketName"}
DENIED = {
    "400": "S3 answers so, without a reason, when credentials have expired: get fresh ones.",
    "AccessDenied": "Check the policy of these credentials. Without s3:ListBucket a key that "
    "does not exist looks forbidden, too.",
    "AuthorizationHeaderMalformed": "Check AWS_DEFAULT_REGION.",
    "ExpiredToken": "Get fresh ones and run the same command again.",
    "IllegalLocationConstraintException": "Check AWS_DEFAULT_REGION.",
    "InvalidToken": "Check AWS_SESSION_TOKEN.",
    "MethodNotAllowed": "Check that the store takes writes.",
    "NotImplemented": "The store lacks a part of the S3 API; if that is checksums, set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required.",
    "PermanentRedirect": "Check AWS_DEFAULT_REGION.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "TokenRefreshRequired": "Get fresh ones and run the same command again.",
}
"""Error codes that no retry will heal, and what to do about them."""
CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or a pod role."
AGAIN = "Check AWS_ENDPOINT_URL_S3 and the network, and run the same command again."


@contextlib.contextmanager
def translated(verb: str, uri: str) -> Iterator[None]:
    """Turns every error of boto3 and of the local disk into a JobError.

    Args:
        verb: What is being done to the URI: "read", "write", "list", "delete".
        uri: The object or store that it is done to.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, UndefinedModelAttributeError, OSError) as exc:
        raise _told(f"Expected to {verb} {uri}. Received: ", _origin(exc)) from exc


def code(exc: Exception) -> str:
    """S3's error code, such as NoSuchKey; "" when the server sent none."""
    return str(_error(exc).get("Code", ""))


def status(exc: Exception) -> int:
    """The HTTP status of S3's answer; 0 when there was none."""
    metadata = getattr(exc, "response", {}).get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))


def _told(expected: str, exc: Exception) -> JobError:
    from botocore.exceptions import ClientError

    if isinstance(exc, ClientError):
        received = f"{code(exc)}: {_error(exc).get('Message', 'no message')}"
        if code(exc) in MISSING or status(exc) == 404:
            return DataNotFound(expected + received, hint="Check the bucket and the key.")
        if code(exc) in DENIED or status(exc) in {401, 403}:
            return AccessDenied(expected + received, hint=DENIED.get(code(exc), CREDENTIALS))
        return StoreError(expected + received, hint=AGAIN)
    if isinstance(exc, _no_credentials()):
        return AccessDenied(expected + str(exc), hint=CREDENTIALS)
    return StoreError(f"{expected}{type(exc).__name__}: {exc}", hint=AGAIN)


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
