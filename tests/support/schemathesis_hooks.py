"""What Schemathesis leaves out; its process imports this file."""

from typing import Any

import schemathesis
from schemathesis import Case, HookContext
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

_seen: set[tuple[object, ...]] = set()


@schemathesis.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """Say whether to send a case: of each field and parameter one value of a wrong type is enough.

    They are a half of all cases, and `test_bad_input.py` sends more of them.
    """
    del context
    data = case.meta.phase.data if case.meta else None
    if isinstance(data, CoveragePhaseData) and data.scenario is CoverageScenario.INCORRECT_TYPE:
        field = (case.operation.label, data.parameter_location, data.parameter, data.location)
        is_new = field not in _seen
        _seen.add(field)
        return is_new
    return True
