// One scenario of Responses with OpenAI's package for Node; PACKAGE names its version.
const { default: OpenAI } = await import(process.env.PACKAGE);

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.KEY,
  maxRetries: 0,
  timeout: 20000,
});
const model = "test-model";
const tools = [
  { type: "function", name: "weather", parameters: { type: "object" }, strict: false },
];

const scenarios = {
  async text() {
    const stream = client.responses.stream({ model, input: "x" });
    const numbers = [];
    for await (const event of stream) numbers.push(event.sequence_number);
    const final = await stream.finalResponse();
    const middle = numbers[Math.floor(numbers.length / 2)];
    const again = client.responses.stream({ response_id: final.id, starting_after: middle });
    let rest = 0;
    for await (const event of again) rest += event.sequence_number > middle ? 1 : -1000;
    const resumed = await again.finalResponse();
    const stored = await client.responses.retrieve(final.id);
    await client.responses.delete(final.id);
    return {
      text: final.output_text,
      resumed: resumed.output_text,
      stored: stored.output_text,
      rest,
      usage: final.usage.total_tokens,
    };
  },
  async tools() {
    const stream = client.responses.stream({ model, input: "x", tools });
    const first = await stream.finalResponse();
    const calls = first.output.filter((item) => item.type === "function_call");
    const results = calls.map(({ call_id }) => ({
      type: "function_call_output",
      call_id,
      output: "sun",
    }));
    const second = await client.responses.create({
      model,
      input: results,
      previous_response_id: first.id,
      tools,
    });
    return { calls: calls.map((call) => [call.call_id, call.arguments]), text: second.output_text };
  },
  async schema() {
    const format = {
      type: "json_schema",
      name: "city",
      schema: { type: "object", properties: { name: { type: "string" } } },
    };
    const parsed = await client.responses.parse({ model, input: "x", text: { format } });
    return parsed.output_parsed;
  },
  async conversation() {
    const items = [1, 2, 3, 4, 5].map((n) => ({ type: "message", role: "user", content: `${n}` }));
    const made = await client.conversations.create({ items });
    const found = [];
    for await (const item of client.conversations.items.list(made.id, { limit: 2 }))
      found.push(item.id);
    const answer = await client.responses.create({ model, input: "x", conversation: made.id });
    return { found: new Set(found).size, same: answer.conversation.id === made.id };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
