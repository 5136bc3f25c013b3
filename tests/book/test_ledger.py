"""Two ledgers side by side: what counts as a failed reproduction, and what does not."""

from __future__ import annotations

import pandas as pd
import pytest

from bnlib.book.ledger import turned


def ledger(kind: str, verdict: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": ["a", "b"], "kind": [kind, "exact"], "verdict": [verdict, "supported"]}
    )


@pytest.mark.parametrize(
    ("kind", "before", "after", "broken"),
    [
        ("empirical", "supported", "inconclusive", False),
        ("empirical", "depends", "refuted", False),
        ("empirical", "supported", "refuted", True),
        ("empirical", "refuted", "supported", True),
        ("empirical", "supported", "not run", True),
        ("exact", "supported", "refuted", True),
        ("theory", "supported", "refuted", True),
    ],
)
def test_a_claim_that_turns(kind: str, before: str, after: str, broken: bool) -> None:
    found = turned(ledger(kind, before), ledger(kind, after))
    assert found.to_dict("records") == [
        {"id": "a", "before": before, "after": after, "broken": broken}
    ]


def test_a_claim_that_stays() -> None:
    assert turned(ledger("theory", "supported"), ledger("theory", "supported")).empty
