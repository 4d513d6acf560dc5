"""Headers that every page and answer of ours carries."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Nobody may frame the admin, the API or anything else; the panel's view sets its own policy.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def security_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Add the policy, and DENY for browsers that do not know it, unless a view has set its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = POLICY
            response["X-Frame-Options"] = "DENY"
        return response

    return middleware
