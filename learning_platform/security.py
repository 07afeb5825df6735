"""The Content-Security-Policy of every answer."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "media-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


def content_security_policy(get_response: Callable) -> Callable:
    """Middleware: only what the platform serves itself runs, and no inline script or style.

    A page whose view sets `response.uses_camera` may compile WebAssembly and open the camera.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        camera = getattr(response, "uses_camera", False)
        policy = dict(POLICY)
        if camera:
            policy["script-src"] += " 'wasm-unsafe-eval'"
        response["Content-Security-Policy"] = "; ".join(f"{k} {v}" for k, v in policy.items())
        allowed = "(self)" if camera else "()"
        response["Permissions-Policy"] = f"camera={allowed}, microphone=(), geolocation=()"
        return response

    return middleware
