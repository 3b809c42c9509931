"""Access control of the app by a random token in the URL that it prints, as in Jupyter.

On a login node every user can connect to 127.0.0.1. At the first visit the browser receives the token as a cookie, and
sends it with every later request.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PARAMETER = "token"
"""Name of the token's parameter in the URL."""
POLICY = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
"""Headers of responses to URLs that may hold a token: browsers do not store them, and send no referrer."""
REFUSAL = (
    "Only the person who started this app can use it.\n"
    "Open the URL that it printed when it started; the URL ends in ?token= and a random text.\n"
    "If you started it and no longer have the URL: end it with Ctrl-C and type python -m cloudseg.app again.\n"
)


def new_token() -> str:
    """A token of 256 random bits, in characters that are valid in a URL."""
    return secrets.token_urlsafe(32)


class RequireToken:
    """ASGI middleware in front of all routes: passes on only requests with the token.

    A GET or HEAD request with the token in its URL is answered with the cookie and a page that leads to the same URL
    without the token. Other requests need the cookie. A request without both is refused with 401 (a websocket with 403,
    before it is accepted).
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # start and stop of the server
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        given = _token_in_url(request) if scope.get("method") in ("GET", "HEAD") else None
        if not self._is_valid(request.cookies.get(cookie_name(request), "") if given is None else given):
            await _refuse(scope, receive, send)
        elif given is None:
            await self._app(scope, receive, send)
        else:
            await _cookie_response(request, self._token)(scope, receive, send)

    def _is_valid(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token.encode())


def cookie_name(request: HTTPConnection) -> str:
    """Name of the cookie. It contains the port that the browser connects to (with `ssh -L` not the server's), as
    browsers send cookies to all ports of a host, and each app needs a cookie of its own."""
    port = re.search(r":(\d+)$", request.headers.get("host", ""))
    return f"cloudseg-app-{port[1] if port else 'default'}"


def _token_in_url(request: HTTPConnection) -> str | None:
    return dict(_query(request)).get(PARAMETER)


def _query(request: HTTPConnection) -> list[tuple[str, str]]:
    return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _cookie_response(request: HTTPConnection, token: str) -> Response:
    """Set the cookie, and send a page that leads to the same URL without the token.

    A redirect would not work: after a link in a page of another site (a JupyterHub terminal, a webmail), the browser
    does not send a SameSite=Strict cookie to the redirect's target. It does after a refresh of this page.
    """
    page = request.scope["path"].rpartition("/")[2]
    query = urlencode([(name, value) for name, value in _query(request) if name != PARAMETER])
    # A relative URL also works behind a proxy that serves the app under another path.
    clean = f"./{quote(page, safe='')}{'?' if query else ''}{query.replace('&', '&amp;')}"
    response = HTMLResponse(
        f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={clean}"><title>cloudseg</title>', headers=POLICY
    )
    response.set_cookie(cookie_name(request), token, httponly=True, samesite="strict")
    return response


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # "websocket.connect"
        await send({"type": "websocket.close", "code": 1008, "reason": "no token"})
        return
    headers = {**POLICY, "WWW-Authenticate": "Cookie"}
    await PlainTextResponse(REFUSAL, status_code=401, headers=headers)(scope, receive, send)
