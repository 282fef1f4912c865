"""The session: an immutable value, its encryption and its cookies.

This package defines what a session contains, its phases, and how cookies store a session. The
package imports no other package of authapp, and does not use the network, the store or requests.
"""
