"""Why something that the application depends on does not serve, in words without an address or a secret."""

from collections.abc import Iterator

BROKE_OFF = "the connection broke off"
# What an error, or one that caused it, is called when this is the reason; the most telling first.
REASONS = {
    "its certificate is not trusted": ("SSLCertVerificationError",),
    "its name does not resolve": ("gaierror",),
    "it refuses the password": ("InvalidPassword", "InvalidAuthorization", "AuthenticationError"),
    "there is no database of this name": ("InvalidCatalogName",),
    "its tables are missing: python -m lab_app.migrations": ("UndefinedTable",),
    "no answer in time": ("Timeout",),
    BROKE_OFF: ("ReadError", "WriteError", "RemoteProtocolError"),  # inside openai's APIConnectionError
    "no connection": ("Connect", "Network"),
    "its account lacks a right": ("InsufficientPrivilege", "NoPermission"),
    "it is read-only": ("ReadOnly", "SQLITE_READONLY"),
    "its memory is full": ("OutOfMemoryError",),
    "it cannot write to its disk": ("MISCONF", "DiskFull", "SQLITE_FULL"),
    "what came back is not JSON of the expected shape": ("DecodeError", "ResponseValidation"),
}


class Reason(Exception):
    """An error whose text is a reason already."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the error is about, if it is."""
    return getattr(getattr(error, "response", None), "status_code", None)


def why(error: BaseException) -> str:
    """One reason for an error; its type's name where none is known."""
    if isinstance(error, Reason):
        return str(error)
    status = status_of(error)
    if status in (401, 403):
        return f"it refuses the key ({status})"
    if status == 429:
        return "rate limited or out of quota (429)"
    if status is not None:
        return f"it answers with HTTP {status}"
    names = " ".join(name for cause in causes(error) for name in names_of(cause))
    known = (words for words, parts in REASONS.items() if any(part in names for part in parts))
    return next(known, type(error).__name__)


def names_of(error: BaseException) -> Iterator[str]:
    """What an error is called: its type, and the code where one type stands for many errors."""
    yield (name := type(error).__name__)
    yield getattr(error, "sqlite_errorname", "")
    if name == "ResponseError":  # of Redis, whose answer begins with the code
        yield str(error).partition(" ")[0]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from, down to the operating system's word."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
