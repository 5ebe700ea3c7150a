"""Every family of architectures trains, merges and is served right in the cells it is given."""

from pathlib import Path

import pytest

from tests.training import families, family_table

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_family_is_what_the_readme_says(family: str, tmp_path: Path) -> None:
    found = family_table.examine(family, tmp_path)
    assert all(loss == loss for loss in found.losses)
    assert found.adapter_effect > 0.1
    assert found.merged_difference < found.adapter_effect * 1e-4
    assert found.peft_difference < found.adapter_effect * 1e-4
    assert max(found.errors.values()) <= 1, found.errors
    assert (found.flops is None) == bool(found.left_out)
    assert found.is_batch_single
    assert found.adapted_share == 1
    assert not found.touches_others
    assert found.row in README.read_text()
