"""The OpenAPI document of the visitors' API, and its human page: both from this service alone."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from .middleware import POLICY
from .problems import MEDIA_TYPE

PROBLEM = {"$ref": "#/components/schemas/ProblemOut"}
# What the service answers before a view reads anything, and so for every call of that kind.
EVERYWHERE = {
    "400": "Not readable: JSON that is none, a host name that is not ours.",
    "401": "No token, or one that is refused.",
    "413": "The body is too large.",
    "415": "The body is not declared as application/json.",
}


class BearerToken(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """How `VisitorAuthentication` is written in the document."""

    target_class = "chatwidget.tokens.VisitorAuthentication"
    name = "visitor"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A session's `token`."}


def problem_documents(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Hook: errors are problem documents, and each call has those that every such call has."""
    for path in result["paths"].values():
        for method, operation in path.items():
            responses = operation["responses"]
            common = {
                "400": True,
                "401": any(operation.get("security", [])),
                "413": method != "get",
                "415": "requestBody" in operation,
            }
            for status in filter(common.get, common):
                responses.setdefault(status, {"description": EVERYWHERE[status]})
            for status in responses:
                if int(status) >= 400:
                    responses[status]["content"] = {MEDIA_TYPE: {"schema": PROBLEM}}
            operation["responses"] = dict(sorted(responses.items()))
    return result


class SchemaView(SpectacularAPIView):
    """The document: JSON, unless YAML is asked for."""

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [
        OpenApiJsonRenderer2,
        OpenApiJsonRenderer,
        OpenApiYamlRenderer,
        OpenApiYamlRenderer2,
    ]


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI. It sets styles on its elements, which the service's policy forbids elsewhere."""

    renderer_classes = [TemplateHTMLRenderer]

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the page, or its script."""
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.data["csrf_token"] = ""  # asking for the real one would set a cookie
        response["Content-Security-Policy"] = POLICY.replace(
            "style-src 'self'", "style-src 'self' 'unsafe-inline'"
        )
        response["X-Frame-Options"] = "DENY"
        return response
