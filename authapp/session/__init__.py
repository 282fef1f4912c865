"""The session: an immutable value, its encryption and its cookies.

This package defines what a session contains, its phases, and how cookies store a session. It
imports no other package of authapp. It does not use the network, the store or requests.
"""
