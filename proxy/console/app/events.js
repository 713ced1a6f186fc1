// Server-sent events as the API writes them: "data: <json>", an empty line, "[DONE]" at the end.

/** The connection ended before "[DONE]": what is missing can be joined. */
export class StreamCut extends Error {}

/** Yield the JSON of every frame; throws StreamCut when the stream ends too early. */
export async function* framesOf(answer) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let over = false;
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch {
        throw new StreamCut();
      }
      if (part.done) throw new StreamCut();
      rest += decoder.decode(part.value, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        if (!block.startsWith("data:")) continue;
        const data = block.slice(5).trim();
        if (data === "[DONE]") {
          over = true;
          return;
        }
        yield JSON.parse(data);
      }
    }
  } finally {
    // After the last frame the server closes; a cancelled request would count as a failed one.
    if (over) while (!(await reader.read().catch(() => ({ done: true }))).done);
    else reader.cancel().catch(() => {});
  }
}

/** Count as the server does: Unicode code points. */
export function codePoints(text) {
  let count = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00 && at + 1 < text.length) {
      const next = text.charCodeAt(at + 1);
      if (next >= 0xdc00 && next < 0xe000) {
        count--;
        at++;
      }
    }
  }
  return count;
}
