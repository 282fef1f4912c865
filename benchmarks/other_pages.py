"""The page of the benchmarks in Flask, Django and Starlette: without sign-in, and with."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import django
import flask
import jinja2
from authlib.oauth2.rfc6749 import OAuth2Token
from django.conf import settings
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
    """Return a Flask application: ``/page``, and ``/signed-in`` with Flask-JWT-Extended."""
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


def django_app() -> object:
    """Return Django: ``/page``, and ``/signed-in`` with SimpleJWT and no query of the user."""
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF="benchmarks.other_pages",
        LOGGING_CONFIG=None,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
        TEMPLATES=[
            {"BACKEND": "django.template.backends.jinja2.Jinja2", "DIRS": [TEMPLATES]},
        ],
        SIMPLE_JWT={"SIGNING_KEY": SECRET, "USER_ID_CLAIM": "sub"},
    )
    django.setup()
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
    return get_wsgi_application()


urlpatterns: list[object] = []


def authlib_user(session: Any) -> str:
    """Return the user whom Authlib's integration has put into a session: its token says who.

    Authlib itself does nothing in a request. The page asks whether the token has expired.
    """
    token = OAuth2Token.from_dict(session["token"])
    return "nobody" if token.is_expired() else str(token["userinfo"]["sub"])


def authlib_session(session: Session) -> dict[str, Any]:
    """Return what Authlib's ``authorize_access_token`` returns, in the session of the framework."""
    tokens = {"access_token": session.tokens.access, "refresh_token": session.tokens.refresh}
    expires = {"expires_at": session.validity.valid_until, "token_type": "Bearer"}
    return {"token": {**tokens, **expires, "userinfo": {"sub": "1", "name": "alice"}}}


def starlette_app(*, sessions: bool, userid: Callable[[Any], str] = itemgetter("sub")) -> Starlette:
    """``/page``, which also works for a signed-in user if ``sessions`` is true.

    :param userid: returns the id of the user of a session.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    templates = Jinja2Templates(env=environment)

    async def page(request: Request) -> Response:
        name = userid(request.session) if sessions else "nobody"
        return templates.TemplateResponse(request, "page.jinja2", {**VALUES, "name": name})

    middleware = [Middleware(SessionMiddleware, secret_key=SECRET)] if sessions else []
    return Starlette(routes=[Route("/page", page)], middleware=middleware)
