import threading

from retrieval.background import Background

WITHIN_S = 20


def test_what_is_asked_for_meanwhile_shares_a_turn() -> None:
    turns: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def work(store_id: str) -> None:
        turns.append(store_id)
        began.set()
        assert go_on.wait(WITHIN_S)

    background = Background("tests", work)
    background.ask("a")
    assert began.wait(WITHIN_S)
    for _ in range(3):
        background.ask("b")
    go_on.set()
    background.settle()
    assert turns == ["a", "b"]
    background.close()
    background.ask("a")
    background.settle()
    assert turns == ["a", "b"]
