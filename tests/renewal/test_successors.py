"""Test the stored outcomes of spent refresh tokens."""

from authapp.renewal.outcomes import Rejected, Renewed
from authapp.renewal.successors import Successors
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Validity
from authapp.store.memory import MemoryStore
from session.test_session import NOW, make


def test_stored_strings_sort_rejection_first_and_later_successor_last() -> None:
    """When two stores are merged, the greatest string is kept (see ``Store.put``).

    So a successor replaces a rejection, and a later successor replaces an earlier successor.
    """
    session, texts = make(), []
    for outcome in (
        Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, "no"),
        *(
            Renewed(session.renewed(session.identity, session.tokens, Validity(until, until), now))
            for now, until in ((NOW + 9, NOW + 900), (NOW + 10, NOW + 100))
        ),
    ):
        shared = MemoryStore()
        Successors(shared, 60).keep(session, outcome)
        texts += [text for _, text, _ in shared.living()]
    assert texts == sorted(texts)
    assert len(set(texts)) == 3
