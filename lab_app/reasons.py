"""Why something that the application depends on does not serve, in words without an address or a secret."""

from __future__ import annotations

from collections.abc import Iterator

# What the name of an error, or of one that caused it, tells; the most telling first.
REASONS = {
    "SSLCertVerificationError": "its certificate is not trusted",
    "gaierror": "its name does not resolve",
    "InvalidPassword": "it refuses the password",
    "InvalidAuthorization": "it refuses the password",
    "AuthenticationError": "it refuses the password",  # Redis
    "InvalidCatalogName": "there is no database of this name",
    "UndefinedTable": "its tables are missing: python -m lab_app.migrations",
    "Timeout": "no answer in time",
    "Connect": "no connection",
    "Network": "no connection",
    "ReadError": "the connection broke off",
    "RemoteProtocolError": "the connection broke off",
    "DecodeError": "what came back is not JSON of the expected shape",
    "ResponseValidation": "what came back is not JSON of the expected shape",
}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the error is about, if it is."""
    return getattr(getattr(error, "response", None), "status_code", None)


def why(error: BaseException) -> str:
    """One reason for an error; its type's name where none is known."""
    status = status_of(error)
    if status in (401, 403):
        return f"it refuses the key ({status})"
    if status == 429:
        return "rate limited or out of quota (429)"
    if status is not None:
        return f"it answers with HTTP {status}"
    names = [type(cause).__name__ for cause in causes(error)]
    return next((words for part, words in REASONS.items() if any(part in name for name in names)), names[0])


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from, down to the operating system's word."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from causes(member)
        error = error.__cause__ or error.__context__
