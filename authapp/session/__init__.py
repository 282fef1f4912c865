"""The session: an immutable value, its encryption and its cookies.

This package defines what a session contains, its phases, and how cookies store a session. The
package imports no other part of authapp. It uses no network, no store and no request.
"""
