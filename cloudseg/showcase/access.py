"""Who may use the app: whoever has the random token of the URL that it prints, as with Jupyter.

On a login node every user can connect to 127.0.0.1. The browser gets the token as a cookie at the first visit, and
shows it with every request after that.
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
"""What the token is called in the URL."""
POLICY = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
"""For answers to URLs that may hold a token: no browser keeps them, or tells the next server about them."""
REFUSAL = (
    "This app is open only to the person who started it.\n"
    "Open the URL that it printed when it started; the URL ends in ?token= and a random text.\n"
    "If you started it and no longer have the URL: end it with Ctrl-C and type python -m cloudseg.app again.\n"
)


def new_token() -> str:
    """256 random bits, in characters that a URL may hold."""
    return secrets.token_urlsafe(32)


class RequireToken:
    """ASGI middleware in front of all routes: passes on only what comes with the token.

    The token is taken from the URL of a GET or HEAD request, which is answered with the cookie and a page that leads to
    the same URL without the token. Otherwise the cookie is what counts. What has neither is refused with 401 (a
    websocket with 403, before it is accepted).
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # the server's own start and stop
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        given = _token_in_url(request) if scope.get("method") in ("GET", "HEAD") else None
        if not self._is_right(request.cookies.get(cookie_name(request), "") if given is None else given):
            await _refuse(scope, receive, send)
        elif given is None:
            await self._app(scope, receive, send)
        else:
            await _welcome(request, self._token)(scope, receive, send)

    def _is_right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token.encode())


def cookie_name(request: HTTPConnection) -> str:
    """Holds the port that the browser connects to (with `ssh -L` not the server's): browsers send cookies to all ports
    of a host, and each app needs its own."""
    port = re.search(r":(\d+)$", request.headers.get("host", ""))
    return f"cloudseg-app-{port[1] if port else 'default'}"


def _token_in_url(request: HTTPConnection) -> str | None:
    return dict(_query(request)).get(PARAMETER)


def _query(request: HTTPConnection) -> list[tuple[str, str]]:
    return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _welcome(request: HTTPConnection, token: str) -> Response:
    """The cookie, and a page that leads to the same URL without the token.

    Not a redirect: if a link in another site's page led here (the terminal of a JupyterHub, a webmail), the browser
    would not send a SameSite=Strict cookie to where the redirect leads. A refresh starts from this page.
    """
    page = request.scope["path"].rpartition("/")[2]
    query = urlencode([(name, value) for name, value in _query(request) if name != PARAMETER])
    # Relative, so that it also holds behind a proxy that serves the app under a path of its own.
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
