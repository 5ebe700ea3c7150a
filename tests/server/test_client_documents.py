"""Every GraphQL document of the installed client is either answered or knowingly not."""

import ast
import re
from pathlib import Path

import graphql
import wandb

from agent.server.app import build_schema
from agent.server.graphql.documents import CHECKS, MAX_TOKENS

# Launch queues, teams, the registry, automations and reports are no part of sweeps.
NOT_ANSWERED = {
    "GetRunQueueItem",
    "fetchRunQueuesFromProject",
    "DeleteFromRunQueue",
    "DeleteRunQueue",
    "GetRunQueueMetadata",
    "GetDefaultResourceConfig",
    "GetRunQueueItems",
    "ProjectRunQueues",
    "pushToRunQueueByName",
    "popFromRunQueue",
    "ackRunQueueItem",
    "failRunQueueItem",
    "updateRunQueueItemWarning",
    "updateLaunchAgent",
    "LaunchAgent",
    "CreateDefaultResourceConfig",
    "CreateRunQueue",
    "UpsertRunQueue",
    "CreateTeam",
    "CreateInvite",
    "DeleteInvite",
    "CreateServiceAccount",
    "CreateUserFromAdmin",
    "DeleteApiKey",
    "GenerateApiKey",
    "FetchAdvancedRegistryFeatures",
    "RegistryVersions",
    "RegistryCollections",
    "FetchRegistry",
    "FetchRegistries",
    "RenameRegistry",
    "UpsertRegistry",
    "RegistryTeamMembers",
    "CreateRegistryMembers",
    "DeleteRegistryMembers",
    "UpdateUserRegistryRole",
    "UpdateTeamRegistryRole",
    "GetAutomationsLegacy",
    "GetEntityAutomationsLegacy",
    "GetEntityAutomations",
    "GetOrgAutomations",
    "CreateAutomation",
    "UpdateAutomation",
    "DeleteAutomation",
    "IntegrationsByEntity",
    "CreateGenericWebhookIntegration",
    "OrgFeatureFlags",
    "CreateCustomChart",
}
PACKAGE = Path(wandb.__file__).parent


def python_documents() -> list[str]:
    """Whole documents among the strings of the Python part (templates are not whole)."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parts[len(PACKAGE.parts)] not in ("apis", "sdk", "automations"):
            continue
        text = path.read_text(encoding="utf-8")
        if "mutation" not in text and "query" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            if re.match(r"\s*(#graphql\s*)?(query|mutation)\b[^{]*\{", node.value):
                found.append(node.value)
    return found


def core_documents() -> list[str]:
    """Documents in the Go part, each with the fragments that follow it."""
    binary = (PACKAGE / "bin" / "wandb-core").read_bytes()
    found = []
    for match in re.finditer(rb"(?:query|mutation) [A-Z]\w+ ?[({]", binary):
        text, rest = _block(binary[match.start() : match.start() + 8000])
        while re.match(rb"\s*fragment \w+ on \w+ \{", rest):
            fragment, rest = _block(rest)
            text += fragment
        found.append(text.decode("utf-8", "replace"))
    return found


def _block(data: bytes) -> tuple[bytes, bytes]:
    depth = 0
    for place, byte in enumerate(data):
        depth += (byte == ord("{")) - (byte == ord("}"))
        if byte == ord("}") and depth == 0:
            return data[: place + 1], data[place + 1 :]
    return data, b""


def test_all_documents_of_the_client_fit_the_schema_except_those_listed() -> None:
    schema = build_schema()
    refused, accepted = set(), 0
    for text in [*python_documents(), *core_documents()]:
        try:
            document = graphql.parse(text, max_lexical_tokens=MAX_TOKENS)
        except graphql.GraphQLSyntaxError:
            continue  # a template that the client fills in
        errors = [
            error
            for error in graphql.validate(schema, document, CHECKS)
            if "RunFilesFragment" not in error.message and "_PROJECT_QUERY_" not in error.message
        ]
        if errors:
            name = re.search(r"(?:query|mutation)\s+(\w+)", text)
            refused.add(name[1] if name else text)
        else:
            accepted += 1
    assert refused <= NOT_ANSWERED, refused - NOT_ANSWERED
    assert accepted >= 100
