"""One table of titles, labels and colours, for the report and for the pages alike."""

import re
from pathlib import Path

from agent.config import variants
from agent.results import presentation
from agent.results.presentation import DARK, LIGHT, METRICS

STYLESHEET = Path(presentation.__file__).parents[1] / "server" / "pages" / "static" / "pages.css"


def test_no_two_metrics_share_a_key_or_a_heading() -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert len({metric.heading for metric in METRICS}) == len(METRICS)


def test_a_title_inside_a_sentence_keeps_its_capitals_only_where_it_is_an_abbreviation() -> None:
    phrases = {metric.key: metric.phrase for metric in METRICS}
    assert phrases["inference/model_size_gb"] == "model size"
    assert phrases["inference/flops_per_query_gflops"] == "FLOPs per query"


def test_every_variant_has_a_label_and_a_colour_of_its_own() -> None:
    labels = presentation.variant_labels()
    assert labels == ("Full LoRA", "QLoRA int4", "QLoRA int8", "LoRA+PTQ int8", "LoRA+PTQ int4")
    assert len(labels) == len(variants.VARIANTS) <= len(LIGHT)
    assert [presentation.style_of(label) for label in labels] == [0, 1, 2, 3, 4]
    assert presentation.style_of("other") is None


def test_a_method_is_named_only_where_it_is_not_the_cells_own() -> None:
    label = presentation.variant_label
    assert label("QLoRA", "int4", "nf4") == label("QLoRA", "int4") == "QLoRA int4"
    assert label("QLoRA", "int4", "gptq") == "QLoRA int4 (gptq)"
    assert label("Full LoRA") == "Full LoRA"


def test_pages_and_report_paint_a_variant_in_one_colour() -> None:
    found = re.findall(r"--s\d: (#[0-9a-f]{6});", STYLESHEET.read_text())
    assert [colour.upper() for colour in found] == [*(c.upper() for c in LIGHT), *DARK]
