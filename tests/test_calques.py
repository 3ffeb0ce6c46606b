"""Hand-made: what the list of calques finds, and what it leaves alone."""

from __future__ import annotations

import pytest

from calques import CALQUES, NOT_READ_YET, ROOT, calques, texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The crops are laid anew.\n", [(1, "laid anew")]),
        ("A net\neats it; weights of\nthen.", [(2, "eats"), (2, "of then")]),
        ("The student is told what\nit was always told.", [(1, "is told"), (2, "was always told")]),
        ("It Goes on\nfrom there.", [(1, "Goes on from")]),
        ("It repeats a great meal. Then it continues from there; the anvil was retold.", []),
    ],
)
def test_each_calque_is_found_with_its_line(text: str, found: list[tuple[int, str]]) -> None:
    assert sorted((line, phrase) for line, phrase, _ in calques(text)) == sorted(found)
    assert all(instead in CALQUES.values() for _, _, instead in calques(text))


def test_what_is_not_read_yet_is_there_and_the_rest_is_read() -> None:
    assert [part for part in NOT_READ_YET if not (ROOT / part).exists()] == []
    read = {path.relative_to(ROOT).as_posix() for path in texts()}
    assert {"docs/distillation.md", "src/facelet/nets/unit.py", "src/facelet/studies/study.py"} <= read
    assert "src/facelet/cli/output.py" not in read
