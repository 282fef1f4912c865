"""The Pyramid side: tween, security policy, request methods, views, headers.

It decides how requests and responses carry a session. What a session is, when it is renewed and
what the backend says is decided below; this room only asks.
"""
