"""What all tests of the commands share."""

import functools
from collections.abc import Iterator

import pytest
from plaster import loaders


@pytest.fixture(autouse=True, scope="package")
def one_search_for_loaders() -> Iterator[None]:
    """Let plaster read the metadata of all installed packages once, and not for each ini file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaders, "find_loaders", functools.cache(loaders.find_loaders))
        yield
