"""What a reader has seen of a source comes back as it was, or not at all."""

from proxy.database import Database
from proxy.documents.source_manifest import AnsweredDigest, SourceManifest

MANIFEST = {"src/程序.py": "0a" * 16, '"a\\nb"': "ff" * 16, "z z": "00" * 16}


async def test_a_manifest_comes_back_as_it_was(database: Database) -> None:
    await database.prepare(indexes=False)
    for manifest in (MANIFEST, {}):
        await SourceManifest.store("me", "c1", "abc", manifest)
        assert await SourceManifest.last("me", "c1") == ("abc", manifest)
        name = f"x:{len(manifest)}"
        await AnsweredDigest.store("me", 1, name, manifest, kept=5)
        assert await AnsweredDigest.recall("me", 1, name) == manifest


async def test_nobody_else_knows_it(database: Database) -> None:
    await database.prepare(indexes=False)
    await AnsweredDigest.store("me", 1, "x", MANIFEST, kept=5)

    assert await AnsweredDigest.recall("other", 1, "x") is None
    assert await AnsweredDigest.recall("me", 2, "x") is None


async def test_an_answer_asked_for_again_is_among_the_newest_again(mock: Database) -> None:
    await mock.prepare(indexes=False)
    await AnsweredDigest.store("me", 1, "first", MANIFEST, kept=2)
    for number in range(4):
        await AnsweredDigest.store("me", 1, f"x{number}", MANIFEST, kept=2)
        await AnsweredDigest.collection().update_one(
            {"_id": f"1:x{number}"}, {"$set": {"answered_at": None}}
        )
        await AnsweredDigest.store("me", 1, "first", MANIFEST, kept=2)

    assert await AnsweredDigest.recall("me", 1, "first") == MANIFEST
    assert await AnsweredDigest.collection().count_documents({}) == 2


async def test_a_manifest_too_large_for_a_document_is_forgotten(mock: Database) -> None:
    await mock.prepare(indexes=False)
    large = {str(number): "00" * 16 for number in range(1_000_000)}
    await SourceManifest.store("me", "c1", "abc", MANIFEST)

    await SourceManifest.store("me", "c1", "def", large)
    await AnsweredDigest.store("me", 1, "x", large, kept=5)

    assert await SourceManifest.last("me", "c1") is None, "the earlier one would be a wrong answer"
    assert await AnsweredDigest.recall("me", 1, "x") is None
