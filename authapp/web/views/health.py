"""The health check: a load balancer requests it to learn whether this process works."""

from typing import Any

from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.services import services_of


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.health",
    request_method="GET",
    renderer="json",
)
def health(request: Request) -> dict[str, Any]:
    """Report that this process handles requests. With ``?deep=1``, check the backend and the store.

    :returns: ``{"status": "ok"}``. With ``?deep=1``, the object also has these members:

        - ``backend`` (with the providers) and ``shared`` (the store): "ok" or "down". If one is
          "down", ``status`` is "down" too, and the status code is 503.
        - ``shared_problems``: the names of the problems in the set-up of the store. If there are
          none, the member is missing. See docs/operations.md.
    """
    request.response.cache_control = "no-store"
    if request.GET.get("deep") != "1":
        return {"status": "ok"}
    services = services_of(request)
    providers = [provider.renewal.backend for provider in services.providers.values()]
    backends = [services.backend, *providers]
    checks = {
        "backend": all(backend.reach() for backend in backends),
        "shared": services.store.healthy(),
    }
    if not all(checks.values()):
        request.response.status = 503
    problems = services.store.problems()
    words = {True: "ok", False: "down"}
    return {
        "status": words[all(checks.values())],
        **{name: words[up] for name, up in checks.items()},
        **({"shared_problems": problems} if problems else {}),
    }
