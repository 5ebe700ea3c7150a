"""Tables laid out as Markdown and CSV; `latex` has them for papers. Blank cells stay blank."""

import csv
import io
import re

from agent.report.tables import MARK, TextTable


def markdown(table: TextTable) -> str:
    """A GitHub table with its notes as a list."""
    heads = [markdown_text(heading.title) for heading in table.headings]
    lines = [f"### {table.title}", "", "| " + " | ".join(heads) + " |"]
    rule = ["---:" if heading.is_number else "---" for heading in table.headings]
    lines.append("| " + " | ".join(rule) + " |")
    lines += ["| " + " | ".join(markdown_text(c.text) for c in row) + " |" for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {markdown_text(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    escaped = re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)
    return escaped.replace("\n", " ")


def to_csv(table: TextTable) -> str:
    """Full values where a cell has one, its text otherwise; marks are left out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([heading.title for heading in table.headings])
    for row in table.rows:
        texts = ("" if cell.text == MARK else cell.text for cell in row)
        writer.writerow(
            [text if c.value is None else c.value for text, c in zip(texts, row, strict=True)]
        )
    return out.getvalue()
