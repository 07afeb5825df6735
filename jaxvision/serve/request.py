"""A request, as endpoints take it."""

from typing import Any

from starlette.datastructures import Headers, QueryParams

from jaxvision.serve.limits import Share
from jaxvision.serve.service import Model


class Request:
    """What an endpoint needs of a request.

    Attributes:
      model: that the address names.
      headers, query: as Starlette has them.
      receive: of ASGI.
      path: of the address.
      unread: whether the client may still be sending its body.
      share: what it has taken of the service's budgets.
    """

    def __init__(self, scope: dict, receive: Any, model: Model | None):
        self.headers, self.query = Headers(scope=scope), QueryParams(scope["query_string"])
        self.receive, self.model, self.path = receive, model, scope["path"]
        self.unread, self.share = scope["method"] == "POST", Share()
