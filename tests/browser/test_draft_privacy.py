"""A draft never holds secrets, and only its user gets it, in the tab where it was typed."""

from typing import Any

from browser.drafts import DRAFT, come_back, end_session, show
from browser.tabs import open_tabs, pass_time, sign_in, wait_until
from served_site import ServedSite

SECRETS = [
    "<input name=a type=password>",
    "<input name=b autocomplete=off>",
    "<form autocomplete=off><input name=c></form>",
    "<input name=cvv>",
    "<input name=otp>",
    "<input name=smsCode>",
    *(
        f"<input name={name}>"
        for name in [
            "pin_code",
            "user_pin",
            "userPin",
            "pin2",
            "cc-1",
            "cc-year",
            "cc_holder",
            "cc_number",
            "ccNumber",
            "api_key",
            "apiKey",
        ]
    ),
    "<input name=d autocomplete=one-time-code>",
    "<input name=e autocomplete=cc-number>",
    "<input name=f id=card-number>",
    "<form data-authapp-draft=off><input name=g></form>",
    "<form data-authapp-draft=off><input name=getAttribute><input name=h></form>",
    "<div data-authapp-draft=off><input name=i></div>",
]
TYPE_EVERYWHERE = """() => { for (const it of document.querySelectorAll('input')) {
  it.value = 's3cret'; it.dispatchEvent(new Event('input', { bubbles: true })); } }"""
ORDINARY = "shipping opinion keyboard sort_key cc cc_email zip_code title"


def test_secrets_are_never_kept(site: ServedSite, page: Any) -> None:
    show(page, site, "".join(SECRETS))
    page.evaluate(TYPE_EVERYWHERE)
    end_session(page)
    page.wait_for_timeout(100)
    assert page.evaluate(DRAFT) is None
    assert "kept" not in page.evaluate("document.querySelector('.authapp-cover').textContent")
    # Nor beside a field that is kept. This also tells which secret would be kept.
    ordinary = "".join(f"<input name={name}>" for name in ORDINARY.split())
    show(page, site, "".join(SECRETS) + ordinary)
    page.evaluate(TYPE_EVERYWHERE)
    end_session(page)
    wait_until(page, f"({DRAFT}) !== null")
    come_back(page, site)
    filled = "[...document.querySelectorAll('input')].filter(i => i.value).map(i => i.name)"
    wait_until(page, f"{filled}.includes('title')")
    assert page.evaluate(filled) == ORDINARY.split()


def test_a_password_that_a_button_shows_is_never_kept(site: ServedSite, page: Any) -> None:
    show(page, site, "<input id=p name=x type=password><input name=y>")
    page.locator("#p").fill("s3cret")
    page.evaluate("document.getElementById('p').type = 'text'")
    page.locator("#p").fill("s3cret too")
    end_session(page)
    page.wait_for_timeout(100)
    assert page.evaluate(DRAFT) is None


def test_unsent_form_is_not_shown_to_another_user(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    (page,) = open_tabs(window, site, 1, "/form")
    page.locator("[name=title]").fill("alice's own")
    pass_time(site, 240, page)
    page.locator("dialog.authapp-cover[open]").wait_for()
    sign_in(page, site, "bob", "/form")
    assert page.locator("[name=title]").input_value() == ""
    assert "own" not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_an_untouched_page_says_nothing_of_a_draft(site: ServedSite, page: Any) -> None:
    show(page, site, "<form><input name=title value=old></form>")
    end_session(page)
    text = page.get_by_role("dialog").inner_text()
    assert "Your session has ended" in text
    assert "kept" not in text
    assert page.evaluate(DRAFT) is None


def test_a_draft_is_gone_after_sign_out(site: ServedSite, page: Any) -> None:
    other = page.context.new_page()
    other.goto(site.url + "/account")
    show(page, site, "<form><input name=title></form>")
    page.locator("[name=title]").fill("mine")
    other.locator("main").get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/login?next=*reason=SignedOut")
    assert page.evaluate(DRAFT) is None
    assert other.evaluate("Object.keys(sessionStorage).length") == 0


def test_a_draft_is_gone_when_another_user_signs_in(site: ServedSite, page: Any) -> None:
    show(page, site, "<form><input name=title></form>")
    page.locator("[name=title]").fill("mine")
    end_session(page)
    wait_until(page, f"({DRAFT}) !== null")
    sealed = page.evaluate(DRAFT)
    other = page.context.new_page()
    page.context.clear_cookies()
    sign_in(other, site, "bob")
    page.get_by_text("Someone else has signed in").wait_for()
    wait_until(page, f"({DRAFT}) === null")
    # Even if the draft were still stored, bob must not get it.
    page.wait_for_timeout(2500)
    page.evaluate("(sealed) => void (sessionStorage.authappDraft = sealed)", sealed)
    come_back(page, site)
    assert page.locator("[name=title]").input_value() == ""


def test_a_window_that_the_page_opens_has_no_copy(site: ServedSite, page: Any) -> None:
    show(page, site, "<form><input name=title></form>")
    page.locator("[name=title]").fill("mine")
    end_session(page, lasting=True)
    wait_until(page, f"({DRAFT}) !== null")
    with page.expect_popup() as opened:
        page.evaluate("void window.open(location.href)")
    copy = opened.value
    wait_until(copy, "window.authapp?.session.user")
    wait_until(copy, f"({DRAFT}) === null")
    copy.wait_for_timeout(300)
    assert copy.locator("[name=title]").input_value() == ""
    assert page.evaluate(DRAFT) is not None
    page.unroute("**/session")
    come_back(page, site)
    assert page.locator("[name=title]").input_value() == "mine"


def test_a_draft_of_another_shape_is_ignored(site: ServedSite, page: Any) -> None:
    page.goto(site.url + "/account")
    for draft in ("null", "{}", "[1]", "x", '{"page": "/form", "kept": [null]}', ""):
        page.evaluate("(draft) => void (sessionStorage.authappDraft = draft)", draft)
        show(page, site, "<form><input name=title></form>")
        assert page.evaluate("window.authapp.session.user.id") == 1, draft
        assert page.locator("[name=title]").input_value() == "", draft
        page.evaluate("window.authapp.renew()")
