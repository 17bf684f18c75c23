import re

import pytest

from job import errors
from job.errors import JobError


def test_one_exit_code_per_class():
    codes = {cls.__name__: cls.exit_code for cls in JobError.__subclasses__()}
    assert len(set(codes.values())) == len(codes)
    assert all(
        cls.rule in ("Count", "FailJob", "Ignore", None) for cls in JobError.__subclasses__()
    )


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = dict(re.findall(r"── (\w+) +(\d+) ", errors.__doc__))
    assert drawn == {cls.__name__: str(cls.exit_code) for cls in JobError.__subclasses__()}


def test_an_error_carries_its_message_hint_and_details():
    error = errors.DataError("Expected a. Received: b.", hint="Do c.", details={"row": 3})
    assert (error.message, error.hint, error.details) == (str(error), "Do c.", {"row": 3})


def test_every_error_says_what_to_do():
    for cls in JobError.__subclasses__():
        with pytest.raises(TypeError, match="hint"):
            cls("Expected a. Received: b.")
