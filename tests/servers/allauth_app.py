"""Django with django-allauth headless and its JWT tokens, as a separate process (``process.py``).

The process writes ``public.pem``, the key that verifies its tokens, to the directory of its
database. Tests POST to ``/control/``: see :func:`control`.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from waitress import create_server

USERS = {"alice": "admin", "bob": "editor", "carol": "", "dave": "editor"}
NOT_VERIFIED = "carol"
WITH_SECOND_FACTOR = "dave"

calls: Counter[str] = Counter()


def private_key(directory: Path) -> str:
    """Make a new key. Write its public part to ``public.pem``, and return its private part as
    PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (directory / "public.pem").write_bytes(public)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def configure(directory: Path) -> None:
    """Configure Django as the package's documentation says."""
    settings.configure(
        SECRET_KEY="secret of the backend that is long enough",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        LOGGING_CONFIG=None,
        MFA_TOTP_TOLERANCE=1,  # a code also works in the half minute after its own
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
            "django.contrib.messages",
            "allauth",
            "allauth.account",
            "allauth.headless",
            "allauth.mfa",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "allauth.account.middleware.AccountMiddleware",
        ],
        AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ACCOUNT_LOGIN_METHODS={"username"},
        ACCOUNT_EMAIL_VERIFICATION="mandatory",
        ALLAUTH_TRUSTED_PROXY_COUNT=1,
        HEADLESS_ONLY=True,
        HEADLESS_CLIENTS=("app",),
        HEADLESS_FRONTEND_URLS={
            "account_confirm_email": "https://app.example.com/verify/{key}",
            "account_reset_password_from_key": "https://app.example.com/reset/{key}",
            "account_signup": "https://app.example.com/signup",
        },
        HEADLESS_TOKEN_STRATEGY=f"{__name__}.WithRoles",
        HEADLESS_JWT_PRIVATE_KEY=private_key(directory),
        HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN=300,
        HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN=3600,
    )
    django.setup()


def urls() -> list[Any]:
    """Return the routes of the package and of ``/control/``, and set the class that makes
    tokens."""
    from allauth.headless.tokens.strategies.jwt import JWTTokenStrategy

    class WithRoles(JWTTokenStrategy):  # type: ignore[misc]
        def get_claims(self, user: Any) -> dict[str, Any]:
            return {"roles": list(user.groups.values_list("name", flat=True))}

    globals()["WithRoles"] = WithRoles
    return [
        path("accounts/", include("allauth.urls")),
        path("_allauth/", include("allauth.headless.urls")),
        path("gateway", lambda request: JsonResponse({"message": "Forbidden"}, status=403)),
        path("control/", control),
    ]


def create_users() -> None:
    """Create the users. If a user has a role, the role is a group of Django."""
    from allauth.account.models import EmailAddress
    from django.contrib.auth.models import Group, User

    for name, role in USERS.items():
        user = User.objects.create_user(name, f"{name}@example.com", f"{name}-password")
        EmailAddress.objects.create(
            user=user, email=user.email, primary=True, verified=name != NOT_VERIFIED
        )
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        if name == WITH_SECOND_FACTOR:
            add_second_factor(user)


def add_second_factor(user: Any) -> None:
    """Give a user a second factor: time-based codes (TOTP, RFC 6238) and recovery codes."""
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)


def codes() -> dict[str, Any]:
    """Return the codes of the user with a second factor.

    :returns: ``totp``, the code that an authenticator app shows now; ``recovery``, the unused
        recovery codes.
    """
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
    from allauth.mfa.utils import decrypt

    factors = {each.type: each for each in Authenticator.objects.all()}
    secret = decrypt(factors["totp"].data["secret"])
    return {
        "totp": format_hotp_value(hotp_value(secret, int(time.time()) // 30)),
        "recovery": factors["recovery_codes"].wrap().get_unused_codes(),
    }


@csrf_exempt
def control(request: HttpRequest) -> JsonResponse:
    """Handle ``POST {"access": 2, "active": {"bob": false}, "methods": ["email"]}``.

    Each member of the body is optional. All rate limits begin again.

    - ``access``: the lifetime of access tokens in seconds
    - ``active``: which users are active
    - ``methods``: whether users sign in with a name or an email address

    :returns: the number of requests by method and path, and the result of :func:`codes`.
    """
    from django.contrib.auth.models import User
    from django.core.cache import cache

    orders = json.loads(request.body)
    cache.clear()  # the rate limits
    if "access" in orders:
        settings.HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = orders["access"]
    if "methods" in orders:
        settings.ACCOUNT_LOGIN_METHODS = set(orders["methods"])
    for name, active in orders.get("active", {}).items():
        User.objects.filter(username=name).update(is_active=active)
    return JsonResponse({"calls": calls, "codes": codes()})


def counted(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that counts each request and passes it on."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        calls[environ["REQUEST_METHOD"] + " " + environ["PATH_INFO"]] += 1
        return application(environ, start_response)

    return answer


def main(directory: Path) -> None:
    """Configure Django, create the users, print the port and serve."""
    logging.basicConfig(level=logging.CRITICAL)  # Django logs each 4xx
    configure(directory)
    from django.core.wsgi import get_wsgi_application

    global urlpatterns
    urlpatterns = urls()
    call_command("migrate", verbosity=0)
    create_users()
    server = create_server(
        counted(get_wsgi_application()),
        host="127.0.0.1",
        port=0,
        threads=8,
        clear_untrusted_proxy_headers=False,  # as behind a trusted proxy
    )
    print("PORT", server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
