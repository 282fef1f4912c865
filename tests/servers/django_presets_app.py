"""Django with Djoser, dj-rest-auth or Ninja JWT, as a separate process.

``PACKAGE=djoser SIGNING_KEY=… python django_presets_app.py DIR`` keeps its database in DIR. It
prints ``PORT <n>`` when it can be reached on 127.0.0.1, and serves until it is terminated. Each
package needs its own process, because all of them have an app named ``token_blacklist``.

Tests POST to ``/control/``: see :func:`control`.
"""

import json
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.utils import translation
from waitress import create_server

PACKAGE = os.environ["PACKAGE"]
JWT = "ninja_jwt" if PACKAGE == "ninja-jwt" else "rest_framework_simplejwt"
APPS = {
    "djoser": ["rest_framework", "rest_framework_simplejwt", "djoser"],
    "dj-rest-auth": ["rest_framework", "rest_framework_simplejwt", "dj_rest_auth"],
    "ninja-jwt": ["ninja_extra", "ninja_jwt"],
}
USERS = {"alice": "admin", "bob": "editor"}

calls: Counter[str] = Counter()
state: dict[str, Any] = {"forbidden": None, "language": "en"}


def configure(directory: Path) -> None:
    """Configure Django as the documentation of the packages says."""
    jwt = {
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
        "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "SIGNING_KEY": os.environ["SIGNING_KEY"],
    }
    more: dict[str, dict[str, Any]] = {
        "djoser": {
            "AUTH_HEADER_TYPES": ("JWT",),
            "TOKEN_OBTAIN_SERIALIZER": f"{__name__}.PairSerializer",
        },
        "dj-rest-auth": {},
        "ninja-jwt": {"TOKEN_OBTAIN_PAIR_INPUT_SCHEMA": f"{__name__}.PairSchema"},
    }
    authentication = {
        "djoser": "rest_framework_simplejwt.authentication.JWTAuthentication",
        "dj-rest-auth": "dj_rest_auth.jwt_auth.JWTCookieAuthentication",
    }
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
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            *APPS[PACKAGE],
            f"{JWT}.token_blacklist",
        ],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [
                name for package, name in authentication.items() if package == PACKAGE
            ],
        },
        **{"NINJA_JWT" if JWT == "ninja_jwt" else "SIMPLE_JWT": jwt | more[PACKAGE]},
        DJOSER={"TOKEN_MODEL": None},
        REST_AUTH={
            "USE_JWT": True,
            "TOKEN_MODEL": None,
            "JWT_AUTH_REFRESH_COOKIE": "jwt-refresh",
            "JWT_TOKEN_CLAIMS_SERIALIZER": f"{__name__}.PairSerializer",
        },
    )
    django.setup()


def customize() -> None:
    """Put roles into access tokens as the package documents."""
    global PairSerializer, PairSchema

    if JWT == "ninja_jwt":
        from ninja_jwt.schema import TokenObtainPairInputSchema
        from ninja_jwt.tokens import RefreshToken

        class PairSchema(TokenObtainPairInputSchema):
            @classmethod
            def get_token(cls, user: Any) -> dict[str, str]:
                token = RefreshToken.for_user(user)
                token["roles"] = roles(user)
                return {"refresh": str(token), "access": str(token.access_token)}
    else:
        from rest_framework_simplejwt.serializers import TokenObtainPairSerializer

        class PairSerializer(TokenObtainPairSerializer):
            @classmethod
            def get_token(cls, user: Any) -> Any:
                token = super().get_token(user)
                token["roles"] = roles(user)
                return token


def roles(user: Any) -> list[str]:
    return list(user.groups.values_list("name", flat=True))


def urls() -> list[Any]:
    """Return the routes of the package and of ``/control/``."""
    routes = [path("control/", control)]
    if PACKAGE == "djoser":
        from rest_framework_simplejwt.views import token_blacklist

        routes += [
            path("auth/", include("djoser.urls")),
            path("auth/", include("djoser.urls.jwt")),
            path("auth/jwt/blacklist/", token_blacklist),  # not Djoser's
        ]
    elif PACKAGE == "dj-rest-auth":
        routes.append(path("dj-rest-auth/", include("dj_rest_auth.urls")))
    else:
        from ninja_extra import NinjaExtraAPI
        from ninja_jwt.controller import NinjaJWTDefaultController
        from ninja_jwt.routers.blacklist import blacklist_router

        api = NinjaExtraAPI()
        api.register_controllers(NinjaJWTDefaultController)
        api.add_router("/token", blacklist_router)
        routes.append(path("api/", api.urls))
    return routes


def create_users() -> None:
    """Create the users. Each user has a group, which is the user's role."""
    from django.contrib.auth.models import Group, User

    for name, role in USERS.items():
        user = User.objects.create_user(name, f"{name}@example.com", f"{name}-password")
        user.groups.add(Group.objects.create(name=role))


def control(request: HttpRequest) -> JsonResponse:
    """Change what the body names, and return the number of requests by path.

    Each member of the body is optional:

    - ``"active": {"bob": false}``: which users are active
    - ``"backend": "ModelBackend"``: Django's class that checks passwords
    - ``"httponly": false``: the setting JWT_AUTH_HTTPONLY of dj-rest-auth
    - ``"forbidden": "/path"``: a path at which a gateway returns 403 before Django gets the request
    - ``"language": "pt-br"``: the language of messages
    """
    from django.contrib.auth.models import User

    orders = json.loads(request.body)
    for name, active in orders.pop("active", {}).items():
        User.objects.filter(username=name).update(is_active=active)
    if "backend" in orders:
        backend = orders.pop("backend")
        settings.AUTHENTICATION_BACKENDS = [f"django.contrib.auth.backends.{backend}"]
    if "httponly" in orders:
        from dj_rest_auth.app_settings import api_settings

        api_settings.JWT_AUTH_HTTPONLY = orders.pop("httponly")
    state.update(orders)
    return JsonResponse({"calls": calls})


def wrapped(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return the application behind a gateway, which counts the requests by path."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        calls[environ["PATH_INFO"]] += 1
        if environ["PATH_INFO"] == state["forbidden"]:
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"message": "Forbidden"}']
        with translation.override(state["language"]):
            return application(environ, start_response)

    return answer


def main(directory: Path) -> None:
    """Configure Django, create the users, print the port and serve."""
    logging.basicConfig(level=logging.ERROR)  # refused sign-ins are not logged
    warnings.simplefilter("ignore")
    configure(directory)
    customize()
    from django.core.wsgi import get_wsgi_application

    global urlpatterns
    urlpatterns = urls()
    call_command("migrate", verbosity=0)
    create_users()
    server = create_server(wrapped(get_wsgi_application()), host="127.0.0.1", port=0, threads=8)
    print("PORT", server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
