"""The session: an immutable value, its encryption, and its cookies.

This package decides what a session holds, which phase it is in, and how it travels in cookies. It
imports no other part of authapp. It knows nothing of the network, the store or requests.
"""
