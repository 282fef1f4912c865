"""Django with django-oauth-toolkit as an OpenID Connect provider, as a separate process.

See ``process.py``. The provider's sign-in page signs every visitor in as alice. The variable
``SITE`` is the URL of the site that uses the provider.
"""

import os
import sys
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import include, path
from waitress import create_server

CLIENT_ID, CLIENT_SECRET = "authapp", "secret of the client: +/&"


def configure(directory: Path) -> None:
    """Configure Django as the package's documentation says."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings.configure(
        SECRET_KEY="secret of the provider that is long enough",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        LOGIN_URL="/sign-in",
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
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem,
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.Claims",
            "SCOPES": {"openid": "Sign in", "profile": "Name", "email": "Email"},
            "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ["ACCESS"]),
        },
    )
    django.setup()


def urls() -> list[Any]:
    """Return the routes of the package, and of a sign-in page that asks for nothing."""
    from django.contrib.auth import login
    from django.contrib.auth.models import User
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Claims(OAuth2Validator):  # type: ignore[misc]
        oidc_claim_scope = None

        def get_additional_claims(self, request: Any) -> dict[str, Any]:
            user = request.user
            roles = list(user.groups.values_list("name", flat=True))
            return {"name": user.get_full_name(), "email": user.email, "roles": roles}

    globals()["Claims"] = Claims

    def sign_in(request: HttpRequest) -> HttpResponse:
        login(request, User.objects.get(username="alice"))
        return HttpResponseRedirect(request.GET["next"])

    return [
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
        path("sign-in", sign_in),
    ]


def create() -> None:
    """Create a user, and register authapp as a client. The user has a group, which is the user's
    role."""
    from django.contrib.auth.models import Group, User
    from oauth2_provider.models import Application

    user = User.objects.create_user("alice", "alice@example.com", "alice-password")
    user.first_name, user.last_name = "Alice", "Liddell"
    user.save()
    user.groups.add(Group.objects.create(name="admin"))
    site = os.environ["SITE"]
    Application.objects.create(
        name="authapp",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris=f"{site}/login/oidc/callback",
        post_logout_redirect_uris=f"{site}/login?reason=SignedOut",
        algorithm=Application.RS256_ALGORITHM,
        skip_authorization=True,
    )


def main(directory: Path) -> None:
    """Configure Django, create the user, print the port and serve."""
    configure(directory)
    from django.core.wsgi import get_wsgi_application

    global urlpatterns
    urlpatterns = urls()
    call_command("migrate", verbosity=0)
    create()
    server = create_server(get_wsgi_application(), host="127.0.0.1", port=0, threads=8)
    print("PORT", server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
