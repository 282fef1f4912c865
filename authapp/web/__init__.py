"""The Pyramid side: tween, security policy, request methods, views, headers.

This room decides how requests and responses carry a session. The rooms below decide what a
session is, when it is renewed, and what the backend's answers mean.
"""
