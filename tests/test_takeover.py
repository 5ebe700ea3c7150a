"""Terms of office: one speaker at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.takeover import Term


def test_a_later_term_ends_the_one_before_and_no_other(tmp_path: Path) -> None:
    first = Term.take(tmp_path / "run", {"host": "n1"})
    assert not first.is_over
    second = Term.take(tmp_path / "run", {"host": "n2"})
    other = Term.take(tmp_path / "other run", {"host": "n1"})
    assert (first.is_over, second.is_over, other.is_over) == (True, False, False)
    assert (first.number, second.number) == (1, 2)


def test_of_many_at_once_each_gets_a_number_of_its_own_and_one_speaks(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        terms = list(pool.map(lambda index: Term.take(tmp_path, {"host": str(index)}), range(24)))
    assert sorted(term.number for term in terms) == list(range(1, 25))
    assert sum(not term.is_over for term in terms) == 1
