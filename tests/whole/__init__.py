"""Tests of authapp as a whole."""

import pytest

# A failed assertion of the helpers shows its values, as that of a test does.
pytest.register_assert_rewrite("whole.outputs", "whole.town")
