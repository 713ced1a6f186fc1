"""The lists of plan documents are ranges of an index, on a real wire server."""

from typing import Any

import pytest

from proxy.database import Database
from proxy.documents.base import Raw, Stored
from proxy.documents.document_reference import ProjectReferences
from proxy.documents.plan_document import PlanDocument
from proxy.documents.plan_file import PlanFile, PlanFileName

FILE = {"project_id": 1, "category_id": 2, "filename": "a.md"}

QUERIES: list[tuple[type[Stored], Raw]] = [
    (PlanFile, FILE),
    (PlanFile, {"project_id": 1}),
    (PlanFile, {"project_id": 1, "category_id": 2}),
    (PlanFile, {"project_id": 1, "tags.name": {"$in": ["一"]}}),
    (PlanDocument, FILE),
    (PlanDocument, {"project_id": 1}),
    (PlanDocument, {"category_id": 2}),
    (ProjectReferences, {"project_id": 1}),
]


def stages(plan: Any) -> list[str]:
    if isinstance(plan, dict):
        own = [plan["stage"]] if "stage" in plan else []
        return own + [stage for value in plan.values() for stage in stages(value)]
    return [stage for value in plan for stage in stages(value)] if isinstance(plan, list) else []


@pytest.mark.parametrize(("document", "query"), QUERIES)
async def test_a_list_reads_an_index(wire: Database, document: type[Stored], query: Raw) -> None:
    await wire.prepare()
    for n in range(30):
        file: PlanFileName = {"project_id": n % 3, "category_id": 2, "filename": f"{n % 5}.md"}
        await PlanDocument.create_version("default", file, {"content": "x"})
    explained = await wire.database.command(
        "explain",
        {"find": document.get_collection_name(), "filter": {**query, "owner": "default"}},
        verbosity="executionStats",
    )
    found = stages(explained["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in found
    assert "COLLSCAN" not in found
    stats = explained["executionStats"]
    assert stats["totalDocsExamined"] <= max(1, 2 * stats["nReturned"])
