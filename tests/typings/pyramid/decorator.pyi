from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class reify(Generic[T]):
    def __init__(self, wrapped: Callable[[Any], T]) -> None: ...
    def __get__(self, inst: object, objtype: type | None = None) -> T: ...
