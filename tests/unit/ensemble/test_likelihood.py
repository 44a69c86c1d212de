import math

import pytest
from msgspec.structs import replace

from gateway.ensemble.likelihood import likelihood_of
from models.types import TokenLogprob
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says


def tokens(*pairs: tuple[str, float]) -> list[TokenLogprob]:
    return [TokenLogprob(piece.encode(), math.log(p)) for piece, p in pairs]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([('{"answer_value":"', 0.1), ("12", 0.25), (" s", 1.0), ('","', 0.1)], 0.5),
        ([('{"answer_value":', 0.1), ('"é', 0.25), ('\\"x', 1.0), ('"}', 0.1)], 0.5),
        ([('{"answer_value":"12 s","passages":[1]}', 0.5)], 0.5),
        ([('{"answer_value":"', 0.1), ('"}', 0.1)], None),
        ([('{"n":1}', 0.5)], None),
        ([('{"answer_value":', 0.5)], None),
        ([], None),
    ],
)
def test_it_is_of_the_value_s_own_tokens(
    pairs: list[tuple[str, float]], expected: float | None
) -> None:
    assert likelihood_of(tokens(*pairs)) == (expected and pytest.approx(expected))


async def test_probabilities_are_asked_for_only_where_they_count() -> None:
    for strategy, asked in (("majority", None), ("confidence", 0)):
        rig = Rig(says("12 seconds"), replace(SETTINGS, strategy=strategy, early_stop=False))
        report = (await rig.verdict()).report
        assert {request.sampling.logprobs for request in rig.requests} == {asked}
        assert all((vote.likelihood is None) is (asked is None) for vote in report.votes)
        assert report.answer_value == "12 seconds"
