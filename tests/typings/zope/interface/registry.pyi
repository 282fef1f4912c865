from collections.abc import Callable
from typing import Any

class Components:
    notify: Callable[..., object]
    def registerHandler(
        self, factory: Callable[[Any], object], required: tuple[type, ...]
    ) -> None: ...
    def subscribers(self, objects: tuple[object, ...], provided: None) -> object: ...
