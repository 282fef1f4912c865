from collections.abc import Callable
from typing import Any, TypeVar

_Class = TypeVar("_Class")

class Interface: ...

def implementer(*interfaces: Any) -> Callable[[_Class], _Class]: ...
