"""activity: signs that this process waits for an answer in vain, and does not hang.

Requests to a store that is down are given up and begun again; meanwhile no processor is used.
"""

_begun = 0


def begin() -> None:
    """Something begins that is given up by itself if it hangs."""
    global _begun
    _begun += 1


def begun() -> int:
    """How often that was."""
    return _begun
