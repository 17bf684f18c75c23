"""Published versions of a model: what they are, which one is the champion, and how one is added."""

from job.registry.integrity import Verification
from job.registry.promotion import Published
from job.registry.versions import Listed, Versions, names

__all__ = ["Listed", "Published", "Verification", "Versions", "names"]
