"""Django with djangorestframework-simplejwt, as a separate process.

``ACCESS_LIFETIME=2 REFRESH_LIFETIME=60 SIGNING_KEY=… python django_simplejwt.py DIR`` keeps its
database in DIR. It prints ``PORT <n>`` when it can be reached on 127.0.0.1, and serves until it is
terminated.

Tests use ``/control/``: see :func:`control`.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import path
from waitress import create_server

USERS = {"alice": "admin", "bob": "editor"}

calls: Counter[str] = Counter()
clock = ExitStack()


def configure(directory: Path) -> None:
    """Configure Django as the documentation of SimpleJWT says."""
    settings.configure(
        SECRET_KEY=os.environ["SIGNING_KEY"],
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
            "rest_framework",
            "rest_framework_simplejwt.token_blacklist",
        ],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [
                "rest_framework_simplejwt.authentication.JWTAuthentication"
            ],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        },
        SIMPLE_JWT={
            "ACCESS_TOKEN_LIFETIME": timedelta(seconds=int(os.environ["ACCESS_LIFETIME"])),
            "REFRESH_TOKEN_LIFETIME": timedelta(seconds=int(os.environ["REFRESH_LIFETIME"])),
            "ROTATE_REFRESH_TOKENS": True,
            "BLACKLIST_AFTER_ROTATION": True,
            "UPDATE_LAST_LOGIN": False,
            "SIGNING_KEY": os.environ["SIGNING_KEY"],
        },
    )
    django.setup()


def urls() -> list[Any]:
    """Return the routes of SimpleJWT, of an API, and of ``/control/``."""
    from rest_framework.decorators import api_view
    from rest_framework.response import Response
    from rest_framework_simplejwt import views
    from rest_framework_simplejwt.serializers import TokenObtainPairSerializer

    class PairSerializer(TokenObtainPairSerializer):
        @classmethod
        def get_token(cls, user: Any) -> Any:
            token = super().get_token(user)
            token["name"], token["email"] = user.get_username(), user.email
            token["roles"] = list(user.groups.values_list("name", flat=True))
            return token

    @api_view()
    def me(request: Any) -> Response:
        return Response({"username": request.user.get_username()})

    pair = views.TokenObtainPairView.as_view(serializer_class=PairSerializer)
    return [
        path("api/token/", pair),
        path("api/token/refresh/", views.token_refresh),
        path("api/token/blacklist/", views.token_blacklist),
        path("api/me/", me),
        path("control/", control),
    ]


def create_users() -> None:
    """Create the users. Each user has a group, which is the user's role."""
    from django.contrib.auth.models import Group, User

    for name, role in USERS.items():
        user = User.objects.create_user(name, f"{name}@example.com", f"{name}-password")
        user.groups.add(Group.objects.create(name=role))


def control(request: HttpRequest) -> JsonResponse:
    """Handle GET and POST.

    The body of POST is JSON such as ``{"access": 2, "refresh": 60, "active": {"bob": false},
    "later": 205}``. Each member is optional. ``access`` and ``refresh`` are the lifetimes of new
    tokens in seconds. ``active`` names users, and says whether each one may sign in. ``later`` sets
    the clock ahead by this many seconds.

    :returns: the number of requests by path, the number of refresh tokens that were issued
        (``outstanding``), and the number of those that were spent or revoked (``blacklisted``).
    """
    from django.contrib.auth.models import User
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
    from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

    orders = json.loads(request.body) if request.method == "POST" else {}
    for kind, token in {"access": AccessToken, "refresh": RefreshToken}.items():
        if kind in orders:
            token.lifetime = timedelta(seconds=orders[kind])
    for name, active in orders.get("active", {}).items():
        User.objects.filter(username=name).update(is_active=active)
    if "later" in orders:
        clock.close()
        clock.enter_context(time_machine.travel(time.time() + orders["later"]))
    outstanding, blacklisted = OutstandingToken.objects.count(), BlacklistedToken.objects.count()
    return JsonResponse({"calls": calls, "outstanding": outstanding, "blacklisted": blacklisted})


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
    create_users()
    server = create_server(counted(get_wsgi_application()), host="127.0.0.1", port=0, threads=8)
    print("PORT", server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
