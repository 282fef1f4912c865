"""The Pyramid part of authapp: tweens, security policy, request methods, views and headers.

This room decides how requests and responses carry a session. It imports the other rooms. They
decide what a session contains, how a session is renewed, and how responses of the backend are read.
"""
