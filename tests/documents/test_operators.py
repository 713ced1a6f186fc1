"""The server runs on MongoDB 4.4: no command says what only newer servers know."""

import ast
import re
from pathlib import Path

import proxy

ROOT = Path(proxy.__file__).parent.parent

NEWER_THAN_4_4 = """
$bitAnd $bitNot $bitOr $bitXor $bottom $bottomN $changeStreamSplitLargeEvent $covariancePop
$covarianceSamp $dateAdd $dateDiff $dateSubtract $dateTrunc $denseRank $densify $derivative
$documentNumber $documents $encStrContains $expMovingAvg $fill $firstN $getField $integral
$lastN $linearFill $listSampledQueries $listSearchIndexes $locf $maxN $median $minMaxScaler
$minN $percentile $querySettings $queryStats $rank $rankFusion $scoreFusion $search $searchMeta
$setField $setWindowFields $shardedDataDistribution $shift $sigmoid $sortArray $toHashedIndexKey
$toUUID $top $topN $tsIncrement $tsSecond $unsetField $vectorSearch
"""
"""What MongoDB 5.0 or a later one brought."""


def newer(path: Path) -> set[str]:
    """The texts of a module that are a newer operator."""
    code = path.read_text(encoding="utf-8")
    # Most modules have none of these words at all, and need not be parsed.
    written = set(re.findall(r"\$\w+", code)) & set(NEWER_THAN_4_4.split())
    if not written:
        return set()
    return written & {
        node.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_no_operator_is_newer_than_mongodb_4_4() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {word}"
        for folder in ("proxy", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        for word in newer(path)
    }
    assert found == set()
