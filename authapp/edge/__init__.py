"""What authapp does for other applications and APIs (contract section 11). This room is optional.

- ``verify`` tells a proxy (nginx, Caddy, Traefik) whether a request is signed in.
- ``proxy`` passes requests on to an API, with the user's access token.
- ``bearer`` accepts access tokens in the header ``Authorization``.

Each part is imported only if its settings ask for it. No other room imports this room.
"""
