// The messages of one conversation, as far as they were read: a part around what is looked at.

import { get } from "../app/api.js";
import { batch, signal } from "../app/html.js";

const PAGE = 100;

export class History {
  constructor(conversationId) {
    this.conversationId = conversationId;
    this.path = `v1/chat/conversations/${conversationId}/messages`;
    /** Ids in the order of the conversation. */
    this.ids = signal([]);
    this.loaded = signal(false);
    this.hasOlder = signal(false);
    this.hasNewer = signal(false);
    /** What was sent and is not known to be stored yet: {content} or null. */
    this.pending = signal(null);
    /** Message id → the reply that is being received. */
    this.live = new Map();
    /** How many those are. */
    this.running = signal(0);
    this.messages = new Map();
    this.reading = null;
  }

  /** Return the signal of a message. */
  at(id) {
    return this.messages.get(id);
  }

  list() {
    return this.ids.value.map((id) => this.messages.get(id).peek());
  }

  /** Read the newest messages, or those around one. */
  async open(around, abort) {
    const options = { signal: abort };
    let found;
    if (around) {
      const [before, after] = await Promise.all([
        this.read({ before: around + 1, limit: PAGE / 2 }, options),
        this.read({ after: around, limit: PAGE / 2 }, options),
      ]);
      found = [...before, ...after];
      this.hasNewer.value = after.length >= PAGE / 2;
    } else {
      found = await this.read({ limit: PAGE }, options);
      this.hasNewer.value = false;
    }
    batch(() => {
      this.replace(found);
      this.hasOlder.value = found.length >= PAGE / (around ? 2 : 1) && found[0].role !== "system";
      this.loaded.value = true;
    });
  }

  async read(query, options) {
    return (await get(this.path, query, options)).messages;
  }

  async loadOlder() {
    await this.more(this.hasOlder, async () => {
      const first = this.list().find((message) => message.role !== "system");
      const found = await this.read({ before: first.id, limit: PAGE });
      return { found: this.fresh(found), more: found.length >= PAGE, older: true };
    });
  }

  async loadNewer() {
    await this.more(this.hasNewer, async () => {
      const found = await this.read({ after: this.ids.value.at(-1), limit: PAGE });
      return { found: this.fresh(found), more: found.length >= PAGE, older: false };
    });
  }

  async more(flag, read) {
    if (!flag.value || this.reading) return this.reading;
    this.reading = (async () => {
      try {
        const { found, more, older } = await read();
        batch(() => {
          for (const message of found) this.messages.set(message.id, signal(message));
          const ids = found.map((message) => message.id);
          this.ids.value = older ? [...ids, ...this.ids.value] : [...this.ids.value, ...ids];
          flag.value = more;
        });
      } finally {
        this.reading = null;
      }
    })();
    return this.reading;
  }

  fresh(found) {
    return found.filter((message) => !this.messages.has(message.id));
  }

  /** Read the newest part again: what another tab or client changed is seen. */
  async refresh() {
    if (this.hasNewer.value) return;
    const limit = Math.min(1000, Math.max(PAGE, this.ids.value.length));
    const found = await this.read({ limit });
    const first = found.find((message) => message.role !== "system")?.id ?? 0;
    const older = this.ids.value.filter(
      (id) => found.length >= limit && id < first && this.messages.get(id).peek().role !== "system",
    );
    batch(() => this.replace(found, older));
  }

  replace(found, kept = []) {
    const there = new Set([...kept, ...found.map((message) => message.id), ...this.live.keys()]);
    for (const id of this.messages.keys()) if (!there.has(id)) this.messages.delete(id);
    for (const message of found) this.put(message, { order: false });
    const ids = [...kept, ...found.map((message) => message.id)];
    // A reply that began while this was read is not among them yet.
    for (const id of this.live.keys()) if (!ids.includes(id) && this.messages.has(id)) ids.push(id);
    if (ids.join() !== this.ids.peek().join()) this.ids.value = ids;
  }

  /** Take over one message as the server has it. */
  put(message, { order = true } = {}) {
    const there = this.messages.get(message.id);
    if (!there) this.messages.set(message.id, signal(message));
    else if (!same(there.peek(), message)) there.value = message;
    if (order && !this.ids.peek().includes(message.id)) {
      this.ids.value = [...this.ids.peek(), message.id];
    }
  }

  drop(ids) {
    const gone = new Set(ids);
    for (const id of ids) this.messages.delete(id);
    this.ids.value = this.ids.value.filter((id) => !gone.has(id));
  }
}

function same(one, other) {
  return (
    one.updated_at === other.updated_at &&
    one.status === other.status &&
    one.content === other.content &&
    one.revision === other.revision
  );
}
