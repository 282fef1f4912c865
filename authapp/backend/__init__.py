"""The backend: three verbs. They call the backend over HTTP, or an object of the application's own.

This package decides how a verb becomes an HTTP request, which user and which lifetimes a response
gives, and which requests may call a backend that is slow or down. It does not know browser
sessions.
"""
