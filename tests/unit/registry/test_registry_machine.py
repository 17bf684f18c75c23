"""Any order of publishing, promoting, rolling back and crashing, against a model of the reader."""

import shutil
import tempfile
from pathlib import Path

import drafts
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from registries import Registry

from job.errors import DataNotFound
from job.storage import open_store

RUNS = st.sampled_from(["run-1", "run-2", "run-3", "run-4"])


class Machine(RuleBasedStateMachine):
    """Pods take one step at a time, in any order; a pod that takes no further one has crashed."""

    pods = Bundle("pods")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.registry = Registry(open_store(str(self.folder / "store")), "m")
        self.files = self.folder / "files"
        self.files.mkdir()
        self.attempts = 0
        self.numbers: dict[str, int] = {}
        """The model: which number each run has,"""
        self.whole: dict[int, str] = {}
        """which versions a reader may see, by run,"""
        self.moves: list[tuple[str | None, int]] = []
        """who moved the pointer where, in order,"""
        self.taken_back: set[int] = set()
        """and what was rolled back."""

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(target=pods, run=RUNS, promote=st.booleans())
    def start(self, run: str, promote: bool) -> dict:
        """A pod of a run begins; two of one run may be at work."""
        self.attempts += 1
        verdict = drafts.PROMOTE if promote else drafts.REJECT
        return {"draft": drafts.draft(run, f"pod-{self.attempts}", verdict), "next": "claim"}

    @rule(pod=pods)
    def step(self, pod: dict) -> None:
        """The next write of one pod."""
        draft = pod["draft"]
        match pod["next"]:
            case "claim":
                pod["version"] = self.registry.claim(draft.run_id, draft.attempt)
                assert self.numbers.setdefault(draft.run_id, pod["version"]) == pod["version"]
                assert len(set(self.numbers.values())) == len(self.numbers)
                pod["next"] = "upload"
            case "upload":
                (self.files / "model.keras").write_text(draft.attempt)
                pod["files"] = self.registry.upload(self.files, pod["version"], draft.attempt)
                pod["next"] = "commit"
            case "commit":
                pod["published"] = self.registry.commit(pod["version"], draft, pod["files"])
                self.whole[pod["version"]] = draft.run_id
                pod["next"] = "challenge"
            case "challenge":
                published = pod["published"]
                self.registry.challenge(published)
                run, version = draft.run_id, pod["version"]
                reigning = self.moves[-1][1] if self.moves else 0
                moved_before = run in [by for by, _ in self.moves]
                allowed = version > reigning and version not in self.taken_back
                if published.verdict.promote and not moved_before and allowed:
                    self.moves.append((run, version))

    @precondition(lambda self: self.whole)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.whole)))
        self.registry.promote(str(version))
        if not self.moves or self.moves[-1][1] != version:
            self.moves.append((None, version))

    @rule()
    def roll_back(self) -> None:
        try:
            move = self.registry.rollback()
        except DataNotFound:
            return
        assert move.after in self.whole
        self.taken_back.add(self.moves[-1][1])
        self.moves.append((None, move.after))

    @invariant()
    def a_reader_sees_what_the_model_says(self) -> None:
        listed = self.registry.versions()
        assert {each.manifest.version for each in listed} == set(self.whole)
        champion = self.registry.champion()
        moves = [(move.run_id, move.after) for move in champion.history] if champion else []
        assert moves == self.moves
        runs = [run for run, _ in moves if run]
        assert len(runs) == len(set(runs))
        if champion:
            manifest = self.registry.resolve("champion")
            assert manifest.version == moves[-1][1]
            assert not self.registry.verify("champion").damaged


Machine.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
test_any_order = Machine.TestCase
