"""What a run would have to say about a model, for tests that publish without training."""

from job.registry.manifest import DataRecord, Draft, InputRecord, Scores
from job.registry.verdict import Verdict

PROMOTE = Verdict(promote=True, reasons=("It is good enough.",))
REJECT = Verdict(promote=False, reasons=("It is not good enough.",))


def draft(run_id: str, attempt: str = "pod-1", verdict: Verdict = PROMOTE) -> Draft:
    return Draft(
        run_id=run_id,
        attempt=attempt,
        data=DataRecord(
            uri="mnist",
            test_uri=None,
            digest="0" * 64,
            train_rows=48_000,
            validation_rows=12_000,
            test_rows=10_000,
        ),
        classes=(0, 1, "two"),
        input=InputRecord(shape=(28, 28), dtype="uint8"),
        config={"epochs": 10, "hidden": [350, 50], "learning_rate": 0.001},
        library_versions={"keras": "3.15.1"},
        device={"kind": "cpu", "name": "this one"},
        seconds=12.5,
        metrics=Scores(accuracy=0.98, accuracy_interval=(0.977, 0.983), loss=0.07),
        verdict=verdict,
    )
