// Reading aids for the Mongo shell:
//
//   mongosh "$(cat data/mongodb-uri)" --shell scripts/mongosh.js
//
// They only read. `chat` prints; the others return plain objects.

const HELP = [
  ["last(10)", "the conversations with the newest activity"],
  ["chat(ID)", "one conversation as text; the first characters of its id or a part of its name are enough"],
  ["find(\"冒泡\")", "messages that contain a text, newest first; find(TEXT, 50) for more of them"],
  ["running()", "replies that are being written right now"],
  ["usage(\"7d\")", "requests, tokens, cost and points by model; usage(\"30d\", \"owner\") by owner"],
  ["db.messages.find({conversation_id: ID}).sort({_id: 1})", "every message as a document (a view)"],
];

const COLORS = { system: 90, developer: 90, user: 36, assistant: 32, tool: 33 };

function paint(code, text) {
  return process.stdout.isTTY ? `\u001b[${code}m${text}\u001b[0m` : text;
}

function escaped(text) {
  return new RegExp(String(text).replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
}

function around(content, text) {
  const at = content.toLowerCase().indexOf(String(text).toLowerCase());
  const start = Math.max(0, at - 40);
  const cut = content.slice(start, at + String(text).length + 80).replace(/\s+/g, " ");
  return (start ? "…" : "") + cut + (start + cut.length < content.length ? "…" : "");
}

function help_proxy() {
  for (const [call, text] of HELP) print(`${call.padEnd(56)} ${text}`);
}

// The conversations with the newest activity.
function last(count = 10) {
  return db.conversations
    .aggregate([
      { $sort: { updated_at: -1 } },
      { $limit: count },
      {
        $project: {
          name: 1, owner: 1, model: 1, updated_at: 1,
          messages: { $add: [{ $size: "$messages" }, "$paged_messages"] },
        },
      },
    ])
    .toArray();
}

function conversation_like(id) {
  if (id === undefined) return db.conversations.find().sort({ updated_at: -1 }).limit(1).toArray()[0];
  const exact = db.conversations.findOne({ _id: String(id) });
  if (exact) return exact;
  // A range, not a pattern: on its index of ids and owners the embedded server finds no pattern.
  const begins = { $gte: String(id), $lt: String(id) + "\uffff" };
  return (
    db.conversations.find({ _id: begins }).limit(1).toArray()[0] ||
    db.conversations.find({ name: escaped(id) }).sort({ updated_at: -1 }).limit(1).toArray()[0]
  );
}

// All messages of a conversation in order: the pages that count, then the newest.
function messages_of(conversation) {
  const system = conversation.messages.filter((m) => m.id == conversation.system_message_id);
  const tail = conversation.messages.filter((m) => m.id != conversation.system_message_id);
  const paged = [];
  for (let number = 0; number < conversation.page_count; number++) {
    const _id = `${conversation._id}:${String(number).padStart(6, "0")}`;
    const page = db.message_pages.findOne({ _id });
    if (page) paged.push(...page.messages);
  }
  tail.sort((a, b) => Number(a.id) - Number(b.id));
  return [...system, ...paged, ...tail];
}

// Print one conversation; without an id the newest one.
function chat(id) {
  const conversation = conversation_like(id);
  if (!conversation) {
    print(`No conversation has the id or name ${id}; last() shows the newest ones`);
    return;
  }
  const { _id, name, model, owner } = conversation;
  print(paint(1, [name || "(no name)", model, owner, _id].filter(Boolean).join(" · ")));
  for (const message of messages_of(conversation)) {
    const time = message.created_at.toISOString().slice(0, 16).replace("T", " ");
    const marks = [message.role, message.model, message.status == "complete" ? "" : message.status];
    const head = `[${message.id}] ${marks.filter(Boolean).join(" · ")} · ${time}Z`;
    print("\n" + paint(COLORS[message.role] || 0, head));
    if (message.reasoning) print(paint(90, message.reasoning));
    if (message.content) print(message.content);
    if (message.error) print(paint(31, message.error.message));
  }
}

// Messages that contain a text, newest first. It reads every message: see docs/mongosh.md.
function find(text, count = 20) {
  return db.messages
    .find({ content: escaped(text) }, { conversation_id: 1, role: 1, created_at: 1, content: 1 })
    .sort({ _id: -1 })
    .limit(count)
    .toArray()
    .map((message) => ({ ...message, content: around(message.content, text) }));
}

// Replies that a worker writes at this moment.
function running() {
  const workers = { $in: db.workers.distinct("_id") };
  const stages = [
    { $match: { "messages.worker": workers } },
    { $unwind: "$messages" },
    { $match: { "messages.worker": workers } },
  ];
  const held = [db.conversations, db.message_pages].flatMap((holder) =>
    holder.aggregate(stages).toArray().map((document) => ({
      ...document.messages,
      conversation_id: document.conversation_id || document._id,
    })),
  );
  const drafts = db.plan_drafts.find({ worker: workers, status: "streaming" }).toArray();
  return [...held, ...drafts].map((reply) => {
    const started = reply.started_at || reply.created_at;
    return {
      _id: reply.id || reply._id,
      conversation_id: reply.conversation_id,
      model: [reply.provider, reply.model].filter(Boolean).join("/"),
      seconds: Math.round((Date.now() - started.getTime()) / 1000),
      stored_characters: reply.content.length,
      worker: reply.worker,
    };
  });
}

// What was used in the last days, by "model", "owner", "day", "key_id" or "project_id".
function usage(span = "7d", by = "model") {
  const days = { d: 1, w: 7, m: 30 }[String(span).slice(-1)] * parseInt(span, 10);
  if (!(days > 0)) throw new Error('Write a number and a unit: usage("7d"), usage("4w"), usage("3m")');
  const first = new Date(Date.now() - (days - 1) * 86400000).toISOString().slice(0, 10);
  const sums = ["requests", "errors", "prompt_tokens", "completion_tokens", "cost", "points"];
  return db.usage
    .aggregate([
      { $match: { day: { $gte: first } } },
      { $group: { _id: `$${by}`, ...Object.fromEntries(sums.map((name) => [name, { $sum: `$${name}` }])) } },
      { $sort: { requests: -1 } },
    ])
    .toArray();
}

if (process.stdout.isTTY) help_proxy();
