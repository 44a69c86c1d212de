import threading

from retrieval.following import Following

WITHIN_S = 20


def test_what_is_asked_for_meanwhile_shares_a_turn() -> None:
    turns: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def follow(store_id: str) -> None:
        turns.append(store_id)
        began.set()
        assert go_on.wait(WITHIN_S)

    following = Following(follow)
    following.ask("a")
    assert began.wait(WITHIN_S)
    for _ in range(3):
        following.ask("b")
    go_on.set()
    following.settle()
    assert turns == ["a", "b"]
    following.close()
    following.ask("a")
    following.settle()
    assert turns == ["a", "b"]
