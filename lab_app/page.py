"""GET /: for a browser a page that chats and shows the health, for other clients an index in JSON."""

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from lab_app import __version__

FOLDER = Path(__file__).parent / "static"
FILES = {"page.css", "page.js", "icon.svg"}
# The page loads what this server sends, and nothing else; nothing in it is a script but page.js.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Ask each time whether it is still the same: a release changes all of them at once.
FRESH = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def wants_html(accept: str) -> bool:
    """Whether the header Accept names HTML. `*/*` alone, as curl sends it, does not."""
    wanted = [part.replace(" ", "").lower().split(";") for part in accept.split(",")]
    return any(kind == "text/html" and "q=0" not in parameters for kind, *parameters in wanted)


router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(request: Request) -> Response:
    varies = {"Vary": "Accept"}
    if wants_html(request.headers.get("accept", "")):
        policy = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return FileResponse(FOLDER / "index.html", headers=FRESH | varies | policy)
    known = {"application": "lab_app", "version": __version__, "chat": "/api/chat", "health": "/health"}
    return JSONResponse(known, headers=varies)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FOLDER / name, headers=FRESH)
