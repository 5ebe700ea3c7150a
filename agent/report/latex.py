"""Tables for papers: booktabs and siunitx, no wider than the text of an article.

A column of plain numbers is aligned at the decimal point. A cell with an interval or a spread has
it below its value. What is still too wide is cut into panels, one below the other, that repeat the
first column; the widths are estimated, and a test compiles them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.report.tables import MARK, ONE_SEED_MARK, Cell, TextTable

TEXT_PT = 345.0  # of LaTeX's article at 10 pt
GAP_PT = 6.0  # between two columns
LONG = 22  # letters from which on a column of texts may break its lines
NARROWEST_PT = 52.0  # of such a column
# Widths in points of Computer Modern at 8 pt; what is not named is as wide as a digit.
LETTER_PT = 4.25
SMALL = 0.9  # \scriptsize over \footnotesize
_WIDTHS = {
    **dict.fromkeys("il.,:;'![]|", 2.4),
    **dict.fromkeys("fjrt() -", 3.3),
    **dict.fromkeys("bdhknpquvxy", 4.75),
    **dict.fromkeys("ABCDEFGHKLNOPQRSTUVXYZ+=<>±×", 6.6),
    **dict.fromkeys("mwMW%&@", 8.0),
}
NEEDS = "% needs \\usepackage{array,booktabs,siunitx}"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_\allowbreak{}",
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
    "…": r"\ldots{}",
}
_SPECIAL = re.compile("|".join(re.escape(character) for character in _LATEX))
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_POWER = re.compile(r"-?\d+(\.\d+)?e-?\d+")


@dataclass(frozen=True)
class _Column:
    """One column laid out: its specification, its head, its cells and about how wide it is."""

    form: str
    head: str
    cells: tuple[str, ...]
    width: float


def latex(table: TextTable) -> str:
    """A table with a caption that says what its brackets, n and seeds are, its notes below."""
    shown = [
        index
        for index, heading in enumerate(table.headings)
        if not heading.is_detail and (index == 0 or any(row[index].text for row in table.rows))
    ]
    panels = _panels(table, shown)
    lines = [
        NEEDS,
        "\\begin{table}",
        "\\centering\\footnotesize",
        f"\\setlength{{\\tabcolsep}}{{{GAP_PT / 2:g}pt}}",
        f"\\caption{{{escape_latex(table.caption or table.title)}}}",
        f"\\label{{tab:{re.sub('[^a-z0-9-]', '-', table.name)}}}",
        "\\par\\smallskip",
    ]
    for number, columns in enumerate(panels):
        lines += ["\\par\\medskip"] if number else []
        lines += _tabular(columns)
    if table.notes:
        lines += ["\\par\\smallskip", "\\begin{minipage}{\\linewidth}\\scriptsize"]
        lines += [f"{escape_latex(MARK)} " + r" \\ ".join(escape_latex(n) for n in table.notes)]
        lines += ["\\end{minipage}"]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _tabular(columns: Sequence[_Column]) -> list[str]:
    form = "".join(column.form for column in columns)
    count = len(columns[0].cells)
    rows = [" & ".join(column.cells[row] for column in columns) + r" \\" for row in range(count)]
    if any("tabular" in row for row in rows):  # cells of two lines
        rows = [*(row + r" \addlinespace" for row in rows[:-1]), *rows[-1:]]
    return [
        f"\\begin{{tabular}}{{@{{}}{form}@{{}}}}",
        "\\toprule",
        " & ".join(column.head for column in columns) + r" \\",
        "\\midrule",
        *rows,
        "\\bottomrule",
        "\\end{tabular}",
    ]


def _panels(table: TextTable, shown: Sequence[int]) -> list[list[_Column]]:
    """The columns in as few panels as they fit into, about equally wide."""
    first = _column(table, shown[0], 0.0)
    room = TEXT_PT - first.width
    columns = [_column(table, index, room / 3) for index in shown[1:]]
    widths = [column.width + GAP_PT for column in columns]
    total = sum(widths)
    for count in range(max(1, math.ceil(total / room)), len(columns) + 1):
        # the narrowest that `count` panels can be: not below their share, nor below any column
        for limit in range(math.ceil(max(total / count, *widths)), math.floor(room) + 1):
            panels = _dealt(columns, limit)
            if len(panels) <= count:
                return [[first, *panel] for panel in panels]
    return [[first, column] for column in columns] or [[first]]


def _dealt(columns: Sequence[_Column], limit: float) -> list[list[_Column]]:
    """Columns in their order, a new panel where the next would make one wider than `limit`."""
    panels: list[list[_Column]] = []
    used = 0.0
    for column in columns:
        width = column.width + GAP_PT
        if not panels or used + width > limit:
            panels.append([])
            used = 0.0
        panels[-1].append(column)
        used += width
    return panels


def points(text: str) -> float:
    """About how wide a text is at \\footnotesize."""
    return sum(_WIDTHS.get(letter, LETTER_PT) for letter in text)


def _column(table: TextTable, index: int, longest: float) -> _Column:
    heading, cells = table.headings[index], [row[index] for row in table.rows]
    head = _head(heading.title, [cell.text for cell in cells])
    head_width = max(map(points, head))
    side = "r" if heading.is_number else "l"
    stacked = _stack("[b]", "c" if heading.is_number else "l", [escape_latex(h) for h in head])
    texts = [cell.text for cell in cells]
    if heading.is_number and all(not text or _NUMBER.fullmatch(text) for text in texts):
        whole, part = _digits(texts)
        width = max(head_width, (whole + part) * LETTER_PT + (3 if part else 0))
        form = f"S[table-format={whole}{f'.{part}' if part else ''}]"
        return _Column(form, f"{{{stacked}}}", tuple(texts), width)
    if not heading.is_number and max(map(len, texts), default=0) > LONG:
        width = max(longest, NARROWEST_PT, head_width)
        form = f">{{\\raggedright\\arraybackslash}}p{{{width:.0f}pt}}"
        return _Column(form, stacked, tuple(escape_latex(text) for text in texts), width)
    laid = [_cell(cell) for cell in cells]
    width = max([head_width, *(wide for _, wide in laid)])
    return _Column(side, stacked, tuple(t for t, _ in laid), width)


def _stack(place: str, side: str, lines: Sequence[str]) -> str:
    """Lines one below the other, with the first (`[t]`) or the last on the line of the row."""
    if len(lines) == 1:
        return lines[0]
    inner = r" \\ ".join(lines)
    return f"\\begin{{tabular}}{place}{{@{{}}{side}@{{}}}}{inner}\\end{{tabular}}"


def _head(title: str, texts: Sequence[str]) -> list[str]:
    """A heading in lines about as wide as its column."""
    width = max([6, *(len(part) for text in texts for part in _parts(text))])
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _digits(texts: Sequence[str]) -> tuple[int, int]:
    pairs = [text.lstrip("-").partition(".") for text in texts if text]
    signs = any(text.startswith("-") for text in texts)
    whole = max((len(pair[0]) for pair in pairs), default=1) + signs
    return whole, max((len(pair[2]) for pair in pairs), default=0)


def _parts(text: str) -> list[str]:
    """A value and what stands below it: `93.3` and `[85.1, 101.2]`, `0.703` and `± 0.012`."""
    for mark in (" [", " ± "):
        value, found, rest = text.partition(mark)
        if found:
            return [value, found.strip() + (" " if mark == " ± " else "") + rest]
    return [text]


def _cell(cell: Cell) -> tuple[str, float]:
    parts = _parts(cell.text)
    marks = [ONE_SEED_MARK] if parts[-1].endswith(ONE_SEED_MARK) and len(parts) > 1 else []
    if _POWER.fullmatch(cell.text):
        return f"\\num{{{cell.text}}}", points(cell.text) + 2 * LETTER_PT
    if len(parts) == 1:
        return escape_latex(cell.text), points(cell.text)
    value, below = parts[0], parts[1].removesuffix(ONE_SEED_MARK)
    said = escape_latex(value + "".join(marks))
    width = max(points(value) + LETTER_PT * len(marks), SMALL * points(below))
    return _stack("[t]", "r", [said, f"{{\\scriptsize {escape_latex(below)}}}"]), width


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands. A bracket at its start is wrapped, or the row break
    before it would take it for a length."""
    escaped = _SPECIAL.sub(lambda match: _LATEX[match[0]], text)
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped
