"""GraphQL documents before they are executed: parsed, checked, bounded and remembered."""

import hashlib
import re
from collections import OrderedDict
from threading import Lock
from typing import Any, TypeVar

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

MAX_TOKENS = 1_000  # four times what the longest document of the client has
MAX_DOCUMENT_BYTES = 50_000
MAX_DEPTH = 25
MAX_BRACKETS = 400
MAX_ROOT_FIELDS = 20
MAX_REMEMBERED_BYTES = 20_000
_NO_BRACKETS = re.compile(r"[^][{}()]+")
_TOLERATED = {
    "NoUndefinedVariablesRule",
    "NoUnusedVariablesRule",
    "NoUnusedFragmentsRule",
    "VariablesInAllowedPositionRule",
    "OverlappingFieldsCanBeMergedRule",
    "LoneAnonymousOperationRule",
    "UniqueOperationNamesRule",
}
CHECKS = [rule for rule in graphql.specified_rules if rule.__name__ not in _TOLERATED]
N = TypeVar("N", bound=Node)


class Documents:
    """The documents that clients send, each parsed once."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._parsed: OrderedDict[str, DocumentNode | list[GraphQLError]] = OrderedDict()
        self._lock = Lock()
        self._parsing = Lock()  # new documents take turns, so that known ones find a free moment

    def read(self, text: str) -> DocumentNode | list[GraphQLError]:
        """The document, or what is wrong with it."""
        if len(text) > MAX_DOCUMENT_BYTES:
            return [GraphQLError("the document is too long")]
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            remembered = self._parsed.get(digest)
        if remembered is not None:
            return remembered
        with self._parsing:
            known = self._parse(text)
        if len(text) > (MAX_REMEMBERED_BYTES if not isinstance(known, list) else 1000):
            return known  # only what is small is worth the memory
        with self._lock:
            self._parsed[digest] = known
            while len(self._parsed) > 256:
                self._parsed.popitem(last=False)
        return known

    def _parse(self, text: str) -> DocumentNode | list[GraphQLError]:
        brackets = _NO_BRACKETS.sub("", text)
        if len(brackets) > MAX_BRACKETS:
            return [GraphQLError(f"the document has more than {MAX_BRACKETS} brackets")]
        if _nesting(brackets) > MAX_DEPTH:
            return [GraphQLError(f"the document is nested more than {MAX_DEPTH} deep")]
        try:
            document = graphql.parse(text, no_location=False, max_lexical_tokens=MAX_TOKENS)
        except GraphQLError as error:
            return [error]
        return graphql.validate(self._schema, document, CHECKS, max_errors=5) or document


def known_variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, variables: dict[str, Any]
) -> dict[str, Any]:
    """The variables without input fields that the schema does not know.

    Newer clients add optional fields to their inputs, mostly null; refusing them would break a
    client for a field this server has no use for.
    """
    known = dict(variables)
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        kind = graphql.type_from_ast(schema, definition.type)
        if name in known and kind is not None:
            known[name] = _known_part(known[name], kind)
    return known


def _known_part(value: Any, kind: Any) -> Any:
    kind = graphql.get_nullable_type(kind)
    if graphql.is_list_type(kind) and isinstance(value, list):
        return [_known_part(item, kind.of_type) for item in value]
    if graphql.is_input_object_type(kind) and isinstance(value, dict):
        return {
            name: _known_part(item, kind.fields[name].type)
            for name, item in value.items()
            if name in kind.fields
        }
    return value


def only_roots(document: DocumentNode, operation: OperationDefinitionNode) -> DocumentNode:
    """The operation with the fields at its root and nothing below them.

    A mutation is run in this form while it holds the database, so that what it selects
    about the change cannot keep others from writing.
    """
    fragments = {
        d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
    }

    def cut(selections: SelectionSetNode) -> SelectionSetNode:
        return SelectionSetNode(selections=tuple(cut_one(one) for one in selections.selections))

    def cut_one(one: SelectionNode) -> SelectionNode:
        if isinstance(one, FieldNode):
            return _copy_of(one, selection_set=None)
        if isinstance(one, FragmentSpreadNode):
            fragment = fragments[one.name.value]
            return InlineFragmentNode(
                type_condition=fragment.type_condition,
                directives=one.directives,
                selection_set=cut(fragment.selection_set),
            )
        assert isinstance(one, InlineFragmentNode)
        return _copy_of(one, selection_set=cut(one.selection_set))

    cut_operation = _copy_of(operation, selection_set=cut(operation.selection_set))
    return DocumentNode(definitions=(cut_operation,))


def _copy_of(node: N, **changes: Any) -> N:
    return type(node)(**{key: getattr(node, key) for key in node.keys} | changes)


def _nesting(brackets: str) -> int:
    deepest = depth = 0
    for character in brackets:
        depth += 1 if character in "{[(" else -1
        deepest = max(deepest, depth)
    return deepest


def choose_operation(
    document: DocumentNode, operation_name: str | None
) -> OperationDefinitionNode | None:
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    named = [o for o in operations if o.name and o.name.value == operation_name]
    return next(iter(named or operations), None)
