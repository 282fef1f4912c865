"""The backend: three verbs, over HTTP or an object of the application's own.

It decides how a verb becomes a request, what the answer says of the user and of time, and who
may call a backend that is slow or down. It does not know of sessions in browsers.
"""
