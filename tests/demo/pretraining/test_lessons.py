"""What the base model is taught stays apart from the tasks it is fine-tuned on."""

from random import Random

from agent.demo import data, toy_world
from agent.demo.pretraining import lessons
from agent.demo.pretraining.tokenizer import MARKUP


def some_lessons() -> list[list[lessons.Turn]]:
    rng = Random(3)
    return [lessons.lesson(rng, MARKUP) for _ in range(100)]


def test_a_lesson_asks_many_questions_on_one_document() -> None:
    for turns in some_lessons():
        assert len(turns) == lessons.TURNS_PER_DOCUMENT
        assert " town " in turns[0][0]
        assert all(question and answer for question, answer in turns)


def test_no_lesson_uses_an_instruction_or_an_answer_of_the_tasks() -> None:
    golds = {e["output"] for name in data.TASKS for e in data.make_examples(name)}
    for turns in some_lessons():
        for question, answer in turns:
            assert not any(instruction in question for instruction in data.INSTRUCTIONS)
            assert answer not in golds
            if "repeat " not in question:
                assert not any(mark in answer for mark in MARKUP)


def test_answers_are_found_in_the_document_they_are_asked_about() -> None:
    rng = Random(5)
    for _ in range(50):
        document = toy_world.make_document(rng)
        for word in lessons.QUESTIONS["first_words"](rng, document)[1].split("\n"):
            assert f" {word} " in document.text.replace(".", " ")
        names = lessons.QUESTIONS["subjects"](rng, document)[1].split("\n")
        assert tuple(names) == document.subjects
