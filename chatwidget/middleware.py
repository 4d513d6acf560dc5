"""Headers that every page and answer of ours carries, and one thread for each request."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_only_middleware

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


@sync_only_middleware
def one_thread(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Innermost, so that Django runs all of the chain on the request's one thread.

    whitenoise is not async and every view is not; a chain that is async in between them changes
    threads twice for each middleware.
    """
    return get_response
