"""The backend and its three verbs: login, refresh and logout.

A verb sends an HTTP request, or calls an object that the application provides.
This package decides how a verb becomes an HTTP request, which user and which lifetimes a response
gives, and which requests may call a backend that is slow or down. The package does not know browser
sessions.
"""
