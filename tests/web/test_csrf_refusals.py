"""Requests with a wrong CSRF token, or of another origin, neither sign in nor out nor renew."""

from site_under_test import Site


def test_s1_csrf_token_from_before_sign_in_is_refused_after_sign_in(site: Site) -> None:
    before = site.get("/login").form["csrf_token"].value
    site.sign_in()
    site.post("/logout", {"csrf_token": before}, status=403)
    site.post("/session", {"csrf_token": before}, status=403)
    assert site.get("/session").json["user"]["id"] == 1


def test_sign_out_requires_the_csrf_token_and_the_same_origin(site: Site) -> None:
    site.sign_in()
    assert "BadCSRFToken" in site.post("/logout", {"csrf_token": "wrong"}, status=403).text
    foreign = {"Origin": "https://evil.example"}
    site.post("/logout", {"csrf_token": site.csrf()}, headers=foreign, status=403)
    site.post("/logout", {"csrf_token": site.csrf()}, headers={"Origin": "null"}, status=403)
    site.post("/logout", {"csrf_token": site.csrf()}, headers={"Origin": "http://["}, status=403)
    assert site.get("/session").json["user"]["id"] == 1
    here = {"Origin": "http://localhost:80"}
    site.post("/logout", {"csrf_token": site.csrf()}, headers=here, status=303)


def test_csrf_is_required_of_every_unsafe_request(site: Site) -> None:
    site.post("/login", {"username": "alice", "password": "alice-password"}, status=403)
    site.sign_in()
    problem = site.post("/session", status=403, headers={"Accept": "application/json"})
    assert problem.content_type == "application/problem+json"
    assert problem.json["code"] == "BadCSRFToken"
