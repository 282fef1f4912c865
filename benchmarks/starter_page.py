"""The page of pyramid-cookiecutter-starter with SQLAlchemy. Many applications begin with it.

It has pyramid_tm, pyramid_retry, ``request.dbsession`` as a reified attribute, and one query in
SQLite. Its template has a layout and three static URLs. The application also has a route for static
files, and one listener. The page is public and shows the id of the signed-in user.
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.request import Request
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.pyramid_pages import TEMPLATES, Include

_folder = tempfile.TemporaryDirectory(prefix="authapp-benchmarks-")


class Base(DeclarativeBase):
    pass


class MyModel(Base):
    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    value: Mapped[int]


@cache
def database() -> Engine:
    """Create a database in a file, with one row. Return its engine."""
    engine = create_engine(f"sqlite:///{Path(_folder.name)}/starter.sqlite")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(MyModel(name="one", value=1))
        session.commit()
    return engine


def models(config: Configurator) -> None:
    """Add ``request.dbsession`` as pyramid-cookiecutter-starter does."""
    config.get_settings()["tm.manager_hook"] = "pyramid_tm.explicit_manager"
    config.include("pyramid_tm")
    config.include("pyramid_retry")
    factory = sessionmaker(bind=database())

    def dbsession(request: Request) -> Session:
        session = factory(info={"request": request})
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.add_request_method(dbsession, reify=True)


def add_year(event: BeforeRender) -> None:
    """Add the variables that every template needs. This is a subscriber of ``BeforeRender``."""
    event["year"] = 2026


def page(request: Request) -> dict[str, Any]:
    one = request.dbsession.query(MyModel).filter(MyModel.name == "one").one()
    return {"one": one, "project": "Shop", "user": request.authenticated_userid or "nobody"}


def starter_page(include: Include = lambda config: None, **settings: str) -> Any:
    """Return an application that has only the starter page.

    :param include: a function that adds more to the application, such as authapp.
    """
    with Configurator(settings=settings) as config:
        config.include("pyramid_jinja2")
        config.add_jinja2_search_path(str(TEMPLATES))
        config.include(models)
        include(config)
        config.add_static_view("static", "benchmarks:templates", cache_max_age=3600)
        config.add_route("home", "/page")
        config.add_subscriber(add_year, BeforeRender)
        config.add_view(page, route_name="home", renderer="benchmarks:templates/starter.jinja2")
        return config.make_wsgi_app()
