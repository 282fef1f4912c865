"""FastAPI Users with a JWT strategy and a bearer transport, as a separate process.

``SIGNING_KEY=… python fastapi_users_app.py DIR`` keeps its database in DIR. It prints ``PORT <n>``
when it can be reached on 127.0.0.1, and serves until it is terminated. It is the "Full example" of
the package's documentation. The routes exist a second time below ``/verified``. There, only users
with a verified email address can use them.

Tests POST to ``/control/``.
"""

import os
import socket
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

SECRET = os.environ["SIGNING_KEY"]
USERS = {"alice": True, "bob": False}
"""User name -> whether the user is a superuser. The package has no other roles than this."""

lifetime = {"seconds": 3600}
calls: Counter[str] = Counter()
instead: dict[str, tuple[int, dict[str, Any]]] = {}


class Base(DeclarativeBase):
    """The base class of database tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """The table of users, with the columns of the package."""


class UserRead(schemas.BaseUser[uuid.UUID]):
    """What ``/users/me`` returns about a user."""


class UserUpdate(schemas.BaseUserUpdate):
    """What users may change about themselves."""


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """Creates users and checks passwords."""

    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


engine = create_async_engine(f"sqlite+aiosqlite:///{Path(sys.argv[1]) / 'users.db'}")
async_session_maker = async_sessionmaker(engine, expire_on_commit=False)


async def get_async_session() -> AsyncIterator[AsyncSession]:
    """Yield the database session of a request."""
    async with async_session_maker() as session:
        yield session


async def get_user_db(
    session: Annotated[AsyncSession, Depends(get_async_session)],
) -> AsyncIterator[Any]:
    """Yield the table of users, for a request."""
    yield SQLAlchemyUserDatabase(session, User)


async def get_user_manager(user_db: Annotated[Any, Depends(get_user_db)]) -> AsyncIterator[Any]:
    """Yield the user manager of a request."""
    yield UserManager(user_db)


def get_jwt_strategy() -> JWTStrategy[User, uuid.UUID]:
    """Return the object that makes and checks tokens."""
    return JWTStrategy(secret=SECRET, lifetime_seconds=lifetime["seconds"])


auth_backend = AuthenticationBackend(
    name="jwt",
    transport=BearerTransport(tokenUrl="auth/jwt/login"),
    get_strategy=get_jwt_strategy,
)
fastapi_users = FastAPIUsers[User, uuid.UUID](get_user_manager, [auth_backend])


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Create the tables and the users, and then print the port. The socket is open before this, so
    a test can connect at once."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with async_session_maker() as session:
        manager = UserManager(SQLAlchemyUserDatabase(session, User))
        for name, superuser in USERS.items():
            await manager.create(
                schemas.BaseUserCreate(
                    email=f"{name}@example.com",
                    password=f"{name}-password",
                    is_superuser=superuser,
                    is_verified=superuser,
                )
            )
    print("PORT", listener.getsockname()[1], flush=True)
    yield


app = FastAPI(lifespan=lifespan)
for prefix, verified in (("", False), ("/verified", True)):
    app.include_router(
        fastapi_users.get_auth_router(auth_backend, requires_verification=verified),
        prefix=f"{prefix}/auth/jwt",
    )
    app.include_router(
        fastapi_users.get_users_router(UserRead, UserUpdate, requires_verification=verified),
        prefix=f"{prefix}/users",
    )


@app.middleware("http")
async def gateway(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Count a request. If a test has set a response for its path, return this response."""
    path = request.url.path
    calls[path] += 1
    if path in instead:
        status, body = instead[path]
        return JSONResponse(body, status)
    return await go_on(request)


@app.post("/control/")
async def control(orders: dict[str, Any]) -> dict[str, Any]:
    """Change what the body names, and return the number of requests by path.

    Each member of the body is optional:

    - ``"access": 2``: the lifetime of access tokens in seconds
    - ``"active": {"bob": false}``: which users are active
    - ``"instead": {"/users/me": [403, {"message": "Forbidden"}]}``: the responses to some paths
    """
    lifetime["seconds"] = orders.get("access", lifetime["seconds"])
    async with async_session_maker() as session:
        for name, active in orders.get("active", {}).items():
            of_theirs = update(User).where(User.email == f"{name}@example.com")
            await session.execute(of_theirs.values(is_active=active))
        await session.commit()
    if "instead" in orders:
        instead.clear()
        instead.update(orders["instead"])
    return {"calls": calls}


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
