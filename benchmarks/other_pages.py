"""The benchmark page in Flask, Django and Starlette, without sign-in and with sign-in."""

import tempfile
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import django
import flask
import jinja2
from authlib.oauth2.rfc6749 import OAuth2Token
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from authapp.session.session import Session
from benchmarks.pyramid_pages import TEMPLATES, VALUES
from benchmarks.samples import SECRET


def flask_app() -> flask.Flask:
    """Return a Flask application with ``/page``, and with ``/signed-in`` behind
    Flask-JWT-Extended."""
    app = flask.Flask("page", template_folder=str(TEMPLATES))
    app.config["JWT_SECRET_KEY"] = SECRET
    app.secret_key = SECRET
    JWTManager(app)

    @app.get("/page")
    def page() -> str:
        return flask.render_template("page.jinja2", **VALUES, name="nobody")

    @app.get("/authlib")
    def authlib() -> str:
        return flask.render_template("page.jinja2", **VALUES, name=authlib_user(flask.session))

    @app.get("/signed-in")
    @jwt_required()
    def signed_in() -> str:
        return flask.render_template("page.jinja2", **VALUES, name=get_jwt_identity())

    return app


_folder = tempfile.TemporaryDirectory(prefix="authapp-benchmarks-")

ALLAUTH = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
"""The middleware that django-allauth needs. It reads the session and the user from the database."""


class DjangoPages(NamedTuple):
    """Django's pages.

    :ivar plain: an application with ``/view`` (plain Django), ``/page`` (Django REST framework) and
        ``/signed-in`` (SimpleJWT, which does not read the user from the database).
    :ivar allauth: an application with ``/view`` behind the middleware of django-allauth.
    :ivar cookie: the ``Cookie`` header of a user who has signed in with django-allauth.
    """

    plain: object
    allauth: object
    cookie: str


def view(request: HttpRequest) -> HttpResponse:
    user = getattr(request, "user", None)
    return render(request, "page.jinja2", {**VALUES, "name": (user and user.pk) or "nobody"})


def django_pages() -> DjangoPages:
    """Set Django up, and return its pages. A process can call this function only once."""
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF="benchmarks.other_pages",
        LOGGING_CONFIG=None,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "allauth",
            "allauth.account",
            "rest_framework",
        ],
        MIDDLEWARE=ALLAUTH,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{_folder.name}/django.sqlite",
                "CONN_MAX_AGE": None,
            }
        },
        TEMPLATES=[
            {"BACKEND": "django.template.backends.jinja2.Jinja2", "DIRS": [TEMPLATES]},
        ],
        SIMPLE_JWT={"SIGNING_KEY": SECRET, "USER_ID_CLAIM": "sub"},
    )
    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.views import APIView
    from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication

    class Page(APIView):
        authentication_classes: tuple[type, ...] = ()
        permission_classes: tuple[type, ...] = ()

        def get(self, request: HttpRequest) -> HttpResponse:
            return render(request, "page.jinja2", {**VALUES, "name": request.user.pk or "nobody"})

    class SignedIn(Page):
        authentication_classes = (JWTStatelessUserAuthentication,)
        permission_classes = (IsAuthenticated,)

    urlpatterns.append(path("page", Page.as_view()))
    urlpatterns.append(path("signed-in", SignedIn.as_view()))
    urlpatterns.append(path("view", view))
    call_command("migrate", verbosity=0)
    user = User.objects.create_user("alice")
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.save()
    allauth = get_wsgi_application()
    settings.MIDDLEWARE = []
    return DjangoPages(get_wsgi_application(), allauth, f"sessionid={session.session_key}")


urlpatterns: list[object] = []


def authlib_user(session: Any) -> str:
    """Return the user id of the token that Authlib has put into the session.

    Authlib does not check the token in later requests. So this function does: if the token has
    expired, the user is ``nobody``.
    """
    token = OAuth2Token.from_dict(session["token"])
    return "nobody" if token.is_expired() else str(token["userinfo"]["sub"])


def authlib_session(session: Session) -> dict[str, Any]:
    """Return session values that contain what Authlib's ``authorize_access_token`` returns."""
    tokens = {"access_token": session.tokens.access, "refresh_token": session.tokens.refresh}
    expires = {"expires_at": session.validity.valid_until, "token_type": "Bearer"}
    return {"token": {**tokens, **expires, "userinfo": {"sub": "1", "name": "alice"}}}


def starlette_app(*, sessions: bool, userid: Callable[[Any], str] = itemgetter("sub")) -> Starlette:
    """Return a Starlette application with ``/page``.

    :param sessions: True to add Starlette's sessions. The page then also shows a signed-in user.
    :param userid: a function that returns the user id of a session.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    templates = Jinja2Templates(env=environment)

    async def page(request: Request) -> Response:
        name = userid(request.session) if sessions else "nobody"
        return templates.TemplateResponse(request, "page.jinja2", {**VALUES, "name": name})

    middleware = [Middleware(SessionMiddleware, secret_key=SECRET)] if sessions else []
    return Starlette(routes=[Route("/page", page)], middleware=middleware)
