"""After the sign-in, what the user typed is put back into the same fields, and into no others."""

from typing import Any

import pytest

from browser.drafts import DRAFT, come_back, end_session, show
from browser.tabs import open_tabs, pass_time, wait_until
from served_site import ServedSite

PEOPLE = "<form id=f>{}<button>Send</button></form>"
PERSON = "<li><label><input type=checkbox name=pick value={}> {}</label></li>"
UNNAMED = "<li><label><input type=checkbox name=pick> {}</label></li>"
NUMBERED = "<li><label><input type=checkbox name=pick-{}> {}</label></li>"


def people(row: str, *names: str) -> str:
    rows = (row.format(*([name, name] if row is PERSON else [name])) for name in names)
    if row is NUMBERED:
        rows = (row.format(number, name) for number, name in enumerate(names))
    return PEOPLE.format("".join(rows))


@pytest.mark.parametrize("row", [PERSON, UNNAMED, NUMBERED])
def test_a_box_of_another_person_is_not_ticked(site: ServedSite, page: Any, row: str) -> None:
    show(page, site, people(row, "ann", "bea", "cas"))
    page.get_by_label("bea").check()
    end_session(page)
    come_back(page, site, people(row, "cas", "ann", "bea"))
    assert page.locator(":checked").count() == ((row is not NUMBERED and 1) or 0) or row is UNNAMED
    assert not page.get_by_label("ann").is_checked()
    assert not page.get_by_label("cas").is_checked()
    if row is PERSON:
        assert page.get_by_label("bea").is_checked()
    if row is NUMBERED:
        assert "could not be put back" in page.locator(".authapp-notice").inner_text()


def rows(row: str, *names: str) -> str:
    """Return a row for each name. ``{n}`` is the name, and ``{i}`` is the number of the row."""
    return "".join(row.format(n=name, i=number) for number, name in enumerate(names))


TABLE = "<form><table>{}</table></form>"
CELL = "<td><input name=note-{i}></td>"
ROWS = {
    "div": ("<form>{}</form>", "<div>{n} <input name=note-{i}></div>"),
    "no form": ("{}", "<div>{n} <input name=note-{i}></div>"),
    "one form each": ("{}", "<div>{n} <form action=/{i}><input name=note></form></div>"),
    "fields outside forms": ("{}", "<p>{n} <input form=f{i} name=note><form id=f{i}></form></p>"),
    "fieldset": (
        "<form>{}</form>",
        "<fieldset><legend>{n}</legend><input name=note-{i}></fieldset>",
    ),
    "heading": (
        "<form>{}</form>",
        "<section><h3>{n}</h3><label>Note <input name=note-{i}></label></section>",
    ),
    "dl": ("<form><dl>{}</dl></form>", "<dt>{n}</dt><dd><input name=note-{i}></dd>"),
    "role": ("<form>{}</form>", "<div role=row><b role=cell>{n}</b><input name=note-{i}></div>"),
    "aria-label": ("<form>{}</form>", "<div aria-label={n}><input name=note-{i}></div>"),
    "nested table": (
        TABLE,
        "<tr><td>{n}</td><td><table><tr><td><input name=note-{i}></td></tr></table></td></tr>",
    ),
    "image": (TABLE, "<tr><td><img alt={n}></td>" + CELL),
    "long text": (TABLE, "<tr><td>" + 320 * "x" + "{n}</td>" + CELL),
    "output": (TABLE, "<tr><td><output>{n}</output></td>" + CELL),
    "read-only": (TABLE, "<tr><td><input readonly value={n} class=name></td>" + CELL),
    "editable": (TABLE, "<tr><td><input name=name-{i} value={n} class=name></td>" + CELL),
    "names of methods": (
        "<form><input name=childNodes><input name=parentNode><input name=matches>{}</form>",
        "<div>{n} <input name=note-{i}></div>",
    ),
}
NOTES = "[...document.querySelectorAll('[name^=note]')].map(i => i.value)"


@pytest.mark.parametrize("markup", ROWS)
def test_a_draft_does_not_go_into_another_row(site: ServedSite, page: Any, markup: str) -> None:
    around, row = ROWS[markup]
    show(page, site, around.format(rows(row, "ann", "bea", "cas")))
    page.locator("[name^=note]").nth(1).fill("for bea")
    end_session(page)
    come_back(page, site, around.format(rows(row, "cas", "ann", "bea")))
    notes = page.evaluate(NOTES)
    assert notes[:2] == ["", ""]
    told = page.locator(".authapp-notice", has_text="could not be put back").count()
    assert told == (notes[2] == "")


def test_a_draft_stays_in_its_row_if_other_rows_change(site: ServedSite, page: Any) -> None:
    row = "<form>{n} <input type=hidden name=csrf_token value={t}><input name=note-{i}></form>"
    show(page, site, rows(row.replace("{t}", "old"), "ann", "bea", "cas"))
    page.locator("[name=note-1]").fill("for bea")
    end_session(page)
    come_back(page, site, rows(row.replace("{t}", "new"), "eve", "bea", "cas", "dan"))
    assert page.evaluate(NOTES) == ["", "for bea", "", ""]


@pytest.mark.parametrize(
    "record",
    [
        "<form><h2>{n}</h2><input name=note></form>",
        "<h1>{n}</h1><form><input name=note></form>",
        "<h2>{n}</h2><input name=note>",
        "<form><input disabled name=of value={n}><input name=note></form>",
        "<form><input readonly value={n}><input name=note></form>",
        "<form><h2>{n}</h2><label>A <input type=radio name=note></label>"
        "<label>B <input type=radio name=note></label></form>",
    ],
)
def test_a_draft_does_not_go_into_another_record(site: ServedSite, page: Any, record: str) -> None:
    show(page, site, record.format(n="Ann"))
    field = page.locator("[name=note]").first
    field.check() if "radio" in record else field.fill("for Ann")
    end_session(page)
    come_back(page, site, record.format(n="Bob"))
    assert "could not be put back" in page.locator(".authapp-notice").inner_text()
    assert page.locator("[name=note]:checked").count() == 0
    assert "for Ann" not in page.evaluate(NOTES)


LIVE = """<form><time>{now}</time><p role=status>{now}</p><p aria-live=polite>{now}</p>
<p data-authapp-draft=off>{now}</p><input type=hidden name=csrf_token value={now}>
<output>0</output><input name=note><button>Send</button></form>"""
COUNT = """document.addEventListener("input", (event) => {
  document.querySelector("output").textContent = event.target.value.length; })"""


def test_what_changes_by_itself_does_not_drop_a_draft(site: ServedSite, page: Any) -> None:
    show(page, site, LIVE.format(now="then"))
    page.evaluate(COUNT)
    page.locator("[name=note]").fill("mine")
    page.evaluate("document.querySelector('button').textContent = 'Sending'")
    assert page.locator("output").inner_text() == "4"
    end_session(page)
    come_back(page, site, LIVE.format(now="now"))
    assert page.evaluate(NOTES) == ["mine"]


FORM = """<form id=f><input name=title value=old><input name=untouched value={now}>
<input name=fixed readonly value={now}><input type=hidden name=of value=1>
<select name=many multiple><option>a<option>b<option>c</select>
<label>Zip <input name=zip autocomplete=postal-code></label>
<div contenteditable aria-label=Text>old</div></form>
<input name=outside form=f><textarea name=alone aria-label=Alone></textarea>"""


def test_all_that_the_user_changed_comes_back(site: ServedSite, page: Any) -> None:
    show(page, site, FORM.format(now="then"))
    page.locator("[name=title]").fill("mine")
    page.locator("[name=many]").select_option(["a", "c"])
    page.locator("[name=zip]").fill("12345")
    page.locator("[name=outside]").fill("beside")
    page.locator("[name=alone]").fill("on my own")
    page.locator("[contenteditable]").fill("<b>rich</b>")
    end_session(page)
    assert "What you typed on this page is kept" in page.get_by_role("dialog").inner_text()
    sealed = page.evaluate(DRAFT)
    assert sealed
    assert "mine" not in sealed
    come_back(page, site, FORM.format(now="now"))
    values = (
        "Object.fromEntries([...document.querySelectorAll('[name]')].map(i => [i.name, i.value]))"
    )
    assert page.evaluate(values) == {
        "title": "mine",
        "untouched": "now",
        "fixed": "now",
        "of": "1",
        "many": "a",
        "zip": "12345",
        "outside": "beside",
        "alone": "on my own",
    }
    chosen = page.evaluate(
        "[...document.querySelector('[name=many]').selectedOptions].map(o => o.text)"
    )
    assert chosen == ["a", "c"]
    assert page.locator("[contenteditable]").inner_text() == "<b>rich</b>"
    assert page.locator(".authapp-notice").count() == 0


def test_unsent_form_is_restored_after_sign_in(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    (page,) = open_tabs(window, site, 1, "/form")
    form = page.locator("#letter")
    form.locator("[name=title]").fill('half "written"')
    form.locator("textarea").fill("two\nlines")
    form.locator("[type=checkbox]").check()
    form.locator("select").select_option("b")
    for secret in ("pin", "card"):
        form.locator(f"[name={secret}]").fill("4242 4242")
    pass_time(site, 240, page)
    page.locator("dialog.authapp-cover[open]").wait_for()
    assert "4242" not in page.evaluate("JSON.stringify({...sessionStorage})")
    page.get_by_role("link", name="Sign in").last.click()
    # After the sign-in, the page has one more field.
    page.context.add_init_script(
        "addEventListener('DOMContentLoaded', () => document.querySelector('#letter')?.prepend("
        "Object.assign(document.createElement('input'), { type: 'checkbox', name: 'all' })))"
    )
    page.fill("#username", "alice")
    page.fill("#password", "alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/form")
    wait_until(page, "document.querySelector('[name=title]').value === 'half \"written\"'")
    assert form.locator("textarea").input_value() == "two\nlines"
    assert form.locator("[name=yes]").is_checked()
    assert not form.locator("[name=all]").is_checked()
    assert form.locator("select").input_value() == "b"
    assert form.locator("[name=pin]").input_value() == form.locator("[name=card]").input_value()
    assert form.locator("[name=pin]").input_value() == ""
    assert page.evaluate("sessionStorage.authappDraft") is None


@pytest.mark.parametrize(
    "other",
    [
        "<form id=other><input name=title value=old></form>",
        "<form id=f><input type=hidden name=of value=2><input name=title value=old></form>",
        "<form id=f><input type=hidden name=of value=1><input name=title value=new></form>",
        "<form id=f><input type=hidden name=of value=1><input name=heading value=old></form>",
    ],
)
def test_another_field_stays_as_it_is_and_the_user_is_told(
    site: ServedSite, page: Any, other: str
) -> None:
    show(
        page,
        site,
        "<form id=f><input type=hidden name=of value=1><input name=title value=old></form>",
    )
    page.locator("[name=title]").fill("mine")
    end_session(page)
    come_back(page, site, other)
    page.locator(".authapp-notice", has_text="could not be put back").wait_for()
    assert "mine" not in page.evaluate("[...document.querySelectorAll('input')].map(i => i.value)")
