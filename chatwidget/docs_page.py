"""The human page of the API's schema: Swagger UI from this service, no other host."""

from typing import Any

from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from .middleware import POLICY


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI sets styles on its elements, which the service's policy forbids elsewhere."""

    renderer_classes = [TemplateHTMLRenderer]

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the page, or its script."""
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response["Content-Security-Policy"] = POLICY.replace(
            "style-src 'self'", "style-src 'self' 'unsafe-inline'"
        )
        response["X-Frame-Options"] = "DENY"
        return response
