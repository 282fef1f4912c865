"""A Flask application with Flask-JWT-Extended, as a separate process.

``SIGNING_KEY=… python flask_jwt_extended_app.py DIR`` prints ``PORT <n>`` when it can be reached on
127.0.0.1, and serves until it is terminated. It writes nothing to DIR, because users and revoked
tokens are in memory. The views are from the package's documentation: "Refreshing Tokens", "JWT
Revoking / Blocklist", "Automatic User Loading" and "Storing Data in Access Tokens".

Tests POST to ``/control/``.
"""

import os
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    current_user,
    get_jwt,
    jwt_required,
)
from waitress import create_server


@dataclass
class User:
    """A user of the application."""

    id: int
    username: str
    role: str
    active: bool = True


USERS = {user.username: user for user in (User(1, "alice", "admin"), User(2, "bob", "editor"))}

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = os.environ["SIGNING_KEY"]
jwt = JWTManager(app)
blocklist: set[str] = set()
calls: Counter[str] = Counter()
instead: dict[str, tuple[int, dict[str, Any]]] = {}


@jwt.user_identity_loader
def user_identity_lookup(user: User) -> str:
    """Return the claim ``sub`` of a user's tokens. It must be a string."""
    return str(user.id)


@jwt.user_lookup_loader
def user_lookup_callback(_header: dict[str, Any], claims: dict[str, Any]) -> User | None:
    """Return the user of a token, or None. If the result is None, the package refuses the token."""
    return next((u for u in USERS.values() if str(u.id) == claims["sub"] and u.active), None)


@jwt.additional_claims_loader
def add_claims(user: User) -> dict[str, Any]:
    """Return the additional claims of all tokens of a user."""
    return {
        "email": f"{user.username}@example.com",
        "name": user.username,
        "roles": [user.role],
    }


@jwt.token_in_blocklist_loader
def check_if_token_revoked(_header: dict[str, Any], claims: dict[str, Any]) -> bool:
    """Return True if a sign-out has revoked a token."""
    return claims["jti"] in blocklist


@app.post("/login")
def login() -> Any:
    """Sign a user in. Return an access token and a refresh token."""
    username, password = request.json.get("username"), request.json.get("password")
    user = USERS.get(username)
    if user is None or not user.active or password != f"{username}-password":
        return jsonify({"msg": "Bad username or password"}), 401
    return jsonify(
        access_token=create_access_token(identity=user),
        refresh_token=create_refresh_token(identity=user),
    )


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    """Return a new access token. The refresh token stays valid."""
    return jsonify(access_token=create_access_token(identity=current_user))


@app.delete("/logout")
@jwt_required(verify_type=False)
def logout() -> Response:
    """Revoke the token in ``Authorization``. It can be an access token or a refresh token."""
    token = get_jwt()
    blocklist.add(token["jti"])
    return jsonify(msg=f"{token['type'].capitalize()} token revoked")


@app.before_request
def gateway() -> Any:
    """Count a request. If a test has set a response for its path, return this response."""
    calls[request.path] += 1
    if request.path in instead:
        status, body = instead[request.path]
        return jsonify(body), status
    return None


@app.post("/control/")
def control() -> Response:
    """Change what the body names, and return the number of requests and of revoked tokens.

    Each member of the body is optional:

    - ``"access": 2, "refresh": 60``: the lifetimes of new tokens in seconds
    - ``"active": {"bob": false}``: which users are active
    - ``"key": "…"``: the key that signs and verifies tokens
    - ``"instead": {"/refresh": [403, {"message": "Forbidden"}]}``: the responses to some paths
    """
    orders = request.json
    for kind in ("access", "refresh"):
        if kind in orders:
            app.config[f"JWT_{kind.upper()}_TOKEN_EXPIRES"] = timedelta(seconds=orders[kind])
    for name, active in orders.get("active", {}).items():
        USERS[name].active = active
    app.config["JWT_SECRET_KEY"] = orders.get("key", app.config["JWT_SECRET_KEY"])
    if "instead" in orders:
        instead.clear()
        instead.update(orders["instead"])
    return jsonify(calls=calls, revoked=len(blocklist))


if __name__ == "__main__":
    server = create_server(app, host="127.0.0.1", port=0, threads=8)
    print("PORT", server.effective_port, flush=True)
    server.run()
