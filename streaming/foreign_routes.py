"""The routes of every protocol that is not ours, in one list. Knows which there are, nothing of them."""

from starlette.routing import BaseRoute

from .openai_http import http_routes
from .openai_realtime_endpoint import realtime_routes
from .service import Service


def foreign_routes(service: Service) -> list[BaseRoute]:
    """All of them, over the given service."""
    return [*http_routes(service), *realtime_routes(service)]
