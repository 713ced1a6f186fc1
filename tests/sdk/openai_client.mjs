// Scenarios with OpenAI's package for Node. Reads one a line, as JSON, and prints what it came to:
// {"scenario": "chat", "url": "http://…/v1", "key": "sk-…", "retries": 1, "timeout_ms": 300}
import { createInterface } from "node:readline";
import OpenAI from "openai";

let client;
const messages = [{ role: "user", content: "Hello 漢" }];
const model = "test-model";
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];

const scenarios = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages });
    return { text: answer.choices[0].message.content, id: answer._request_id, usage: answer.usage };
  },
  async stream() {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    return { text };
  },
  async tools() {
    const runner = client.chat.completions.stream({ model, messages, tools });
    const final = await runner.finalChatCompletion();
    const choice = final.choices[0];
    return { calls: choice.message.tool_calls, reason: choice.finish_reason };
  },
  async conversation() {
    const created = await client.post("/chat/conversations", { body: {} });
    const conversation = created.conversation_id;
    const answer = await client.chat.completions.create({ model, messages, conversation });
    return { same: answer.conversation_id === conversation, id: answer.assistant_message_id };
  },
  async models() {
    const found = [];
    for await (const each of client.models.list()) found.push(each.id);
    return { found, one: (await client.models.retrieve("vendor/other")).id };
  },
  async error() {
    return scenarios.chat();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { scenario, url, key, retries = 0, timeout_ms: timeout = 20000 } = JSON.parse(line);
  client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: retries, timeout });
  try {
    console.log(JSON.stringify(await scenarios[scenario]()));
  } catch (error) {
    const { status, code, param, type, message, requestID } = error;
    const name = error.constructor.name;
    console.log(JSON.stringify({ name, status, code, param, type, message, requestID }));
  }
}
