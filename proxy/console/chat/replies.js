// Replies that are being written: sent, joined again after a reload or a lost connection, stopped.

import { ApiError, get, post, request } from "../app/api.js";
import { codePoints, framesOf, StreamCut } from "../app/events.js";
import { signal } from "../app/html.js";
import { say } from "../app/toast.js";
import { changed } from "./conversations.js";

/** Of the time, what showing a growing text may take: one part of so many and one. */
const REST = 3;

/** A reply as far as it has come; `tick` rises once an animation frame at most. */
export class LiveReply {
  constructor(message) {
    this.id = message.id;
    this.text = message.content ?? "";
    this.reasoning = message.reasoning ?? "";
    this.points = codePoints(this.text);
    this.tick = signal(0);
    this.startedAt = Date.now();
    this.waiting = 0;
    this.notBefore = 0;
  }

  take(frame) {
    if (frame.replace) {
      this.text = "";
      this.points = 0;
    }
    if (frame.content) {
      this.text += frame.content;
      this.points += codePoints(frame.content);
    }
    if (frame.reasoning) this.reasoning += frame.reasoning;
    this.waiting ||= requestAnimationFrame(() => this.show());
  }

  show() {
    if (performance.now() < this.notBefore) {
      this.waiting = requestAnimationFrame(() => this.show());
      return;
    }
    this.waiting = 0;
    this.tick.value++;
  }

  /** Say how long showing it took: a text that is slow to show is shown more rarely. */
  shown(milliseconds) {
    this.notBefore = performance.now() + REST * milliseconds;
  }
}

const newKey = () =>
  "console-" + Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");

/**
 * Send a message; its reply is followed from then on. Ends once the message is stored.
 *
 * The idempotency key lets it be sent again when the connection is lost before the first frame:
 * it is stored once. Throws when nothing was stored.
 */
export async function send(history, body) {
  const headers = { "Idempotency-Key": newKey() };
  history.pending.value = { content: body.content };
  try {
    for (;;) {
      const answer = await request("POST", history.path, {
        body: { ...body, stream: true, accept_replace: true },
        headers,
        patient: true,
      });
      const begun = await begin(history, framesOf(answer), body);
      if (begun) return;
    }
  } catch (error) {
    if (!(error instanceof ApiError) || !error.body?.assistant_message_id) throw error;
    // Both messages are stored, the second one with the error.
    await history.refresh();
  } finally {
    history.pending.value = null;
  }
}

async function begin(history, frames, body) {
  let first;
  try {
    first = await frames.next();
  } catch (error) {
    if (error instanceof StreamCut) return false;
    throw error;
  }
  const ids = first.value;
  const now = new Date().toISOString();
  if (ids.user_message_id) {
    history.put({ id: ids.user_message_id, role: "user", content: body.content, status: "complete", created_at: now, updated_at: now });
  }
  const message = { id: ids.assistant_message_id, role: "assistant", content: "", status: "streaming", created_at: now, updated_at: now, model: body.model || null, reply_to: ids.user_message_id };
  history.put(message);
  history.pending.value = null;
  follow(history, new LiveReply(message), frames);
  return true;
}

/** Write a reply again, perhaps by another model. */
export async function regenerate(history, message, model) {
  const answer = await request("POST", `v1/chat/messages/${message.id}/regenerate`, {
    body: { model: model || undefined, stream: true, accept_replace: true },
  });
  const frames = framesOf(answer);
  const empty = { ...message, content: "", reasoning: null, error: null, payload: null, usage: null, finish_reason: null, status: "streaming", model: model || message.model };
  history.put(empty);
  await follow(history, new LiveReply(empty), frames);
}

/** Go on reading replies that others began, or that this page began before it was loaded again. */
export function joinRunning(history) {
  for (const message of history.list()) {
    if (message.status === "streaming" && !history.live.has(message.id)) {
      follow(history, new LiveReply(message), null);
    }
  }
}

async function follow(history, reply, frames) {
  history.live.set(reply.id, reply);
  wake(history, reply.id);
  if (frames) tell(history);
  try {
    for (;;) {
      try {
        frames ??= framesOf(await joined(reply));
        for await (const frame of frames) reply.take(frame);
        break;
      } catch (error) {
        if (!(error instanceof StreamCut)) throw error;
        frames = null;
      }
    }
    const message = await get(`v1/chat/messages/${reply.id}`);
    history.live.delete(reply.id);
    history.put(message);
  } catch (error) {
    history.live.delete(reply.id);
    if (error.status === 404) history.drop([reply.id]);
    else await history.refresh();
  }
  wake(history, reply.id);
  tell(history);
}

/** Show in the lists and in other tabs that the conversation has moved on. */
function tell(history) {
  changed(history.conversationId).catch((error) => say(error.message, "error"));
}

function joined(reply) {
  if (!reply.points) reply.reasoning = "";
  return request("GET", `v1/chat/messages/${reply.id}/stream`, {
    query: { after: reply.points, accept_replace: true },
  });
}

/** Let whoever shows the message look again at whether it is being received. */
function wake(history, id) {
  const message = history.at(id);
  if (message) message.value = { ...message.peek() };
  history.running.value = history.live.size;
}

export const stop = (id) => post(`v1/chat/messages/${id}/stop`);
