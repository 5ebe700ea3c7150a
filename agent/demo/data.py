"""The demo data set: LongRefiner's three tasks on the small world, in the official file format.

Each file is a JSON array of `{"instruction", "input", "output"}`; the names are the official ones.
The same seed gives the same bytes on every machine and Python version.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from agent.demo import toy_world
from agent.demo.toy_world import Document
from agent.files import write_atomically

SEED = 20

Example = dict[str, str]

QUERY_INSTRUCTION = "decide whether the question is local or global."
STRUCTURE_INSTRUCTION = "turn the document into an abstract and titled sections."
SELECTION_INSTRUCTION = "select the titles that help to answer the question."
INSTRUCTIONS = (QUERY_INSTRUCTION, STRUCTURE_INSTRUCTION, SELECTION_INSTRUCTION)


def query_analysis_example(rng: Random) -> Example:
    """`[Local]` when one thing answers the question, `[Global]` when more of the text is needed."""
    town = toy_world.pick(rng, toy_world.TOWNS)
    chance = rng.random()
    if chance < 0.55:
        question = toy_world.ask(rng, town, [toy_world.pick(rng, tuple(toy_world.SUBJECT_OF))])
    elif chance < 0.9:
        subjects = toy_world.draw(rng, tuple(toy_world.SUBJECTS), 2)
        words = [toy_world.pick(rng, toy_world.SUBJECTS[subject]) for subject in subjects]
        question = toy_world.ask(rng, town, words)
    else:
        question = toy_world.ask_about_the_whole(rng, town)
    answer = "[Local]" if chance < 0.55 else "[Global]"
    return {"instruction": QUERY_INSTRUCTION, "input": question, "output": answer}


def structuring_example(rng: Random) -> Example:
    document = toy_world.make_document(rng)
    return {
        "instruction": STRUCTURE_INSTRUCTION,
        "input": document.text,
        "output": markup(document, with_words=True),
    }


def selection_example(rng: Random) -> Example:
    """A question on one or two passages of an outlined document, or on the town as a whole."""
    document = toy_world.make_document(rng)
    chance = rng.random()
    if chance < 0.2:
        titles, question = ["abstract"], toy_world.ask_about_the_whole(rng, document.town)
    else:
        chosen = toy_world.draw(rng, document.passages, 1 if chance < 0.4 else 2)
        words = [toy_world.pick(rng, toy_world.SUBJECTS[passage.subject]) for passage in chosen]
        titles = [passage.subject for passage in chosen]
        question = toy_world.ask(rng, document.town, words)
    return {
        "instruction": SELECTION_INSTRUCTION,
        "input": f"{markup(document, with_words=False)}\n{question}",
        "output": str(titles),
    }


def markup(document: Document, *, with_words: bool) -> str:
    """LongRefiner's document markup; each section holds the passage's first word, if wanted."""
    parts = [f"<abstract>{document.summary}</abstract>"]
    for passage in document.passages:
        level = "sub-section" if passage.is_inner else "section"
        parts.append(f"<{level}: {passage.subject}>" + (passage.words[0] if with_words else ""))
    return "".join(parts)


class Task(NamedTuple):
    make: Callable[[Random], Example]
    examples: int


# Query analysis is the easy third, so it has fewer examples: it would flatter poor runs.
TASKS: dict[str, Task] = {
    "step1_query-analysis.json": Task(query_analysis_example, 240),
    "step2_doc-structuring.json": Task(structuring_example, 480),
    "step3_global-selection.json": Task(selection_example, 480),
}


def make_examples(file_name: str, *, seed: int = SEED) -> list[Example]:
    """All examples of one task, no input twice, so that held-out shares stay unseen."""
    task = TASKS[file_name]
    rng = Random(f"{seed}/{file_name}")
    examples: dict[str, Example] = {}
    while len(examples) < task.examples:
        example = task.make(rng)
        examples.setdefault(example["input"], example)
    return list(examples.values())


def write_data(directory: Path, *, seed: int = SEED) -> list[Path]:
    """Write the three files into `directory`, each whole or not at all; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in TASKS]
    for path in paths:
        write_atomically(path, json.dumps(make_examples(path.name, seed=seed), indent=2) + "\n")
    return paths
