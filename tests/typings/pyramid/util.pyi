from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class SettableProperty(Generic[T]):
    def __init__(self, wrapped: Callable[[Any], T]) -> None: ...
    def __get__(self, obj: object, type: type | None = None) -> T: ...

def __getattr__(name: str) -> Any: ...
