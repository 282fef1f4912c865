"""The session: an immutable value, its encryption, and its cookies.

It decides what a session holds, in which phase it is, and how it travels in cookies. It imports
nothing of authapp's but itself: no network, no store, no requests.
"""
