"""What is remembered of spent refresh tokens."""

from authapp.errors import ErrorCode
from authapp.rotation import Rejected, Renewed, Rotation
from authapp.session import Validity
from authapp.shared.memory import MemoryShared
from unit.test_session import NOW, make


def test_where_texts_meet_a_later_successor_counts_and_any_before_a_rejection() -> None:
    """Shared.put: the greatest text does, of those that could not hear of each other."""
    session, texts = make(), []
    for outcome in (
        Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, "no"),
        *(
            Renewed(session.renewed(session.identity, session.tokens, Validity(until, until), now))
            for now, until in ((NOW + 9, NOW + 900), (NOW + 10, NOW + 100))
        ),
    ):
        shared = MemoryShared()
        Rotation(shared, 60).remember(session, outcome)
        texts += [text for _, text, _ in shared.living()]
    assert texts == sorted(texts)
    assert len(set(texts)) == 3
