"""Tables laid out: Markdown, LaTeX (booktabs) and CSV. Blank cells stay blank."""

import csv
import io
import re

from agent.report.tables import MARK, TextTable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "–": "--",
}
_SPECIAL = re.compile("|".join(re.escape(character) for character in _LATEX))


def markdown(table: TextTable) -> str:
    """A GitHub table with its notes as a list."""
    heads = [_markdown_cell(heading.title) for heading in table.headings]
    lines = [f"### {table.title}", "", "| " + " | ".join(heads) + " |"]
    rule = ["---:" if heading.is_number else "---" for heading in table.headings]
    lines.append("| " + " | ".join(rule) + " |")
    lines += ["| " + " | ".join(_markdown_cell(c.text) for c in row) + " |" for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {_markdown_cell(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_cell(text: str) -> str:
    escaped = re.sub(r"([\\|*_`<>\[\]])", r"\\\1", text)
    return escaped.replace("\n", " ")


def latex(table: TextTable) -> str:
    """A booktabs table (needs \\usepackage{booktabs}) with its notes below."""
    form = "".join("r" if heading.is_number else "l" for heading in table.headings)
    heads = " & ".join(escape_latex(heading.title) for heading in table.headings)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        "\\small",
        f"\\caption{{{escape_latex(table.title)}}}",
        f"\\label{{tab:{re.sub('[^a-z0-9-]', '-', table.name)}}}",
        f"\\begin{{tabular}}{{{form}}}",
        "\\toprule",
        heads + r" \\",
        "\\midrule",
        *(" & ".join(escape_latex(cell.text) for cell in row) + r" \\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    if table.notes:
        marked = f"{escape_latex(MARK)} " + " ".join(escape_latex(note) for note in table.notes)
        lines += ["\\par\\smallskip", f"{{\\footnotesize {marked}}}"]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands. A bracket at its start is wrapped, or the row break
    before it would take it for a length."""
    escaped = _SPECIAL.sub(lambda match: _LATEX[match[0]], text)
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


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
