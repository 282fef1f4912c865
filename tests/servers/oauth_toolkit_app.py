"""Django with django-oauth-toolkit, as a separate process (``process.py``).

The package accepts the refresh tokens of inactive users. With the variable ``VALIDATOR=active``,
they are refused. Tests POST to ``/control/``: see :func:`control`.
"""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from waitress import create_server

CLIENT_ID, CLIENT_SECRET = "authapp", "secret of the client: +/&"
USERS = {"alice": "admin", "bob": "editor"}

calls: Counter[str] = Counter()


def configure(directory: Path) -> None:
    """Configure Django as the package's documentation says."""
    validators = {"active": f"{__name__}.ActiveUsers"}
    validator = validators.get(os.environ.get("VALIDATOR", ""))
    settings.configure(
        SECRET_KEY="secret of the backend that is long enough",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": directory / "django.sqlite3",
                "OPTIONS": {"timeout": 20},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        OAUTH2_PROVIDER={
            "SCOPES": {"read": "Reading", "write": "Writing"},
            "ACCESS_TOKEN_EXPIRE_SECONDS": 300,
            "ALWAYS_RELOAD_OAUTHLIB_CORE": True,  # /control/ sets the lifetime
            **({"OAUTH2_VALIDATOR_CLASS": validator} if validator else {}),
        },
    )
    django.setup()


def urls() -> list[Any]:
    """Return the routes of the package, of a view that returns the user, and of ``/control/``."""
    from oauth2_provider.oauth2_validators import OAuth2Validator
    from oauth2_provider.views.generic import ProtectedResourceView

    class ActiveUsers(OAuth2Validator):  # type: ignore[misc]
        def validate_refresh_token(
            self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any
        ) -> bool:
            good = super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)
            return good and request.user.is_active

    class Me(ProtectedResourceView):  # type: ignore[misc]
        def get(self, request: Any) -> JsonResponse:
            user = request.resource_owner
            roles = list(user.groups.values_list("name", flat=True))
            about = {"id": user.pk, "email": user.email, "name": user.get_full_name()}
            return JsonResponse({**about, "roles": roles})

    globals()["ActiveUsers"] = ActiveUsers
    return [
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
        path("me", Me.as_view()),
        path("gateway", lambda request: JsonResponse({"message": "Forbidden"}, status=403)),
        path("control/", control),
    ]


def create() -> None:
    """Create the users, and register authapp as a client. Each user has a group, which is the
    user's role."""
    from django.contrib.auth.models import Group, User
    from oauth2_provider.models import Application

    for name, role in USERS.items():
        user = User.objects.create_user(name, f"{name}@example.com", f"{name}-password")
        user.first_name, user.last_name = name.title(), "Liddell"
        user.save()
        user.groups.add(Group.objects.create(name=role))
    Application.objects.create(
        name="authapp",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_PASSWORD,
    )


def control(request: HttpRequest) -> JsonResponse:
    """Handle ``POST {"access": 2, "active": {"bob": false}}``. Each member is optional.

    ``access`` is the lifetime of access tokens in seconds. ``active`` says which users are active.

    :returns: ``calls``, the number of requests by path; ``good``, the number of refresh tokens that
        are not revoked.
    """
    from django.contrib.auth.models import User
    from oauth2_provider.models import RefreshToken
    from oauth2_provider.settings import oauth2_settings

    orders = json.loads(request.body)
    if "access" in orders:
        oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS = orders["access"]
    for name, active in orders.get("active", {}).items():
        User.objects.filter(username=name).update(is_active=active)
    good = RefreshToken.objects.filter(revoked=None).count()
    return JsonResponse({"calls": calls, "good": good})


def counted(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that counts the requests by path and passes them on."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        calls[environ["PATH_INFO"]] += 1
        return application(environ, start_response)

    return answer


def main(directory: Path) -> None:
    """Configure Django, create the users, print the port and serve."""
    logging.basicConfig(level=logging.ERROR)  # refused sign-ins are not logged
    configure(directory)
    from django.core.wsgi import get_wsgi_application

    global urlpatterns
    urlpatterns = urls()
    call_command("migrate", verbosity=0)
    create()
    server = create_server(counted(get_wsgi_application()), host="127.0.0.1", port=0, threads=8)
    print("PORT", server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
