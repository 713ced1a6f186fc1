"""The same words looked for by a regular expression in mongosh and by SQLite's FTS5."""

import json
import shutil
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from search_corpus import corpus

MONGOSH = Path(__file__).parents[2] / "tests" / "mongosh" / "node_modules" / ".bin" / "mongosh"

FTS5_MESSAGES = 20_000
"""The first of the messages; `trigram` needs several times their size in memory."""

SCRIPT = """
const timed = (work) => {
  const began = Date.now(), count = work();
  return [Date.now() - began, count];
};
const counted = (where) => db.conversations.countDocuments(where)
  + db.message_pages.countDocuments(where);
const out = {};
for (const word of WORDS) {
  out[word] = { stored: [], view: [] };
  for (let round = 0; round < ROUNDS; round++) {
    out[word].stored.push(timed(() => counted({"messages.content": {$regex: word}})));
  }
}
// Once: it takes the time of a minute.
const first = WORDS[0];
out[first].view.push(timed(() => db.messages.find({content: {$regex: first}})
  .sort({_id: -1}).limit(20).toArray().length));
print(JSON.stringify(out));
"""


def in_mongosh(uri: str, name: str, words: list[str], rounds: int) -> dict[str, Any] | None:
    """Return milliseconds of a plain regular expression: on what is stored, on the view.

    On what is stored it counts documents with a hit; on the view it reads 20 messages, once.
    """
    program = shutil.which("mongosh") or (str(MONGOSH) if MONGOSH.exists() else None)
    if program is None:
        return None
    script = SCRIPT.replace("WORDS", json.dumps(words)).replace("ROUNDS", str(rounds))
    target = urlunsplit(urlsplit(uri)._replace(path=f"/{name}"))
    done = subprocess.run(
        [program, target, "--quiet", "--norc", "--eval", script],
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stdout + done.stderr).strip()[-300:]}
    return {
        word: {
            way: {
                "ms": [ms for ms, _ in runs],
                "median_ms": statistics.median(ms for ms, _ in runs),
                "count": runs[0][1],
            }
            for way, runs in ways.items()
            if runs
        }
        for word, ways in json.loads(done.stdout).items()
    }


def fts5(count: int, words: list[str]) -> dict[str, Any]:
    """Return what each tokenizer of FTS5 finds of what a plain scan finds: `[found, true]`."""
    texts = list(corpus(count))
    recall: dict[str, Any] = {}
    for tokenizer in ("trigram", "unicode61"):
        database = sqlite3.connect(":memory:")
        database.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{tokenizer}')")
        began = time.perf_counter()
        database.executemany("INSERT INTO t VALUES (?)", ((text,) for text in texts))
        recall[tokenizer] = {"index_seconds": round(time.perf_counter() - began, 1)}
        for word in words:
            (hits,) = database.execute(
                "SELECT count(*) FROM t WHERE t MATCH ?", (f'"{word}"',)
            ).fetchone()
            recall[tokenizer][word] = [hits, sum(word in text for text in texts)]
        database.close()
    return recall
