"""Each message catalogue has every sentence that users see, and is compiled."""

import gettext
import io
import re
from pathlib import Path
from typing import IO

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import authapp
from authapp.web.session_json import _TEXTS

PACKAGE = Path(authapp.__file__).parent
LOCALES = ["en", "zh_Hans"]


def sentences() -> set[str]:
    methods = [("**.py", "python"), ("**.jinja2", "jinja2")]
    found = extract_from_dir(str(PACKAGE), methods, keywords={"_": None, "gettext": None})
    return {message for _, _, message, _, _ in found}


@pytest.mark.parametrize("locale", LOCALES)
def test_every_sentence_is_translated(locale: str) -> None:
    folder = PACKAGE / "locale" / locale / "LC_MESSAGES"
    catalogue = read_po(io.BytesIO((folder / "authapp.po").read_bytes()), locale=locale)
    translated = {message.id: message.string for message in catalogue if message.id}
    assert set(translated) == sentences(), "run `make messages`"
    for sentence, translation in translated.items():
        assert translation, sentence
        assert ("${name}" in sentence) == ("${name}" in translation)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    with (folder / "authapp.mo").open("rb") as file:
        assert entries(file) == entries(io.BytesIO(compiled.getvalue())), "run `make messages`"


def entries(file: IO[bytes]) -> dict[str, str]:
    catalogue: dict[str, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined, arg-type]
    return {sentence: translation for sentence, translation in catalogue.items() if sentence}


def test_the_script_has_the_same_english_sentences_as_the_site() -> None:
    """``browser.js`` has English sentences, for a page that passes no sentences in the script's
    options. These sentences are the same as those of the site."""
    script = (PACKAGE / "static/browser.js").read_text()
    own = script.partition("TEXTS = {")[2].partition("};")[0]
    assert dict(re.findall(r'^\t(\w+): "(.*)",$', own, re.MULTILINE)) == _TEXTS
