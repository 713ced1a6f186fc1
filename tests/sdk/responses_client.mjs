// Scenarios of Responses with OpenAI's package and Vercel's SDK for Node, two versions of each, with
// every model of MODELS in one process: a start costs more than all the calls. Prints JSON.
const { BASE_URL, KEY, MODELS, IMAGE } = process.env;
const ask = (text) => [{ role: "user", content: text }];

async function openaiScenarios(name) {
  const { default: OpenAI } = await import(name);
  const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0, timeout: 60000 });
  const tools = [
    { type: "function", name: "weather", parameters: { type: "object" }, strict: false },
  ];
  return {
    async text(model) {
      const stream = client.responses.stream({ model, input: "Hello" });
      const numbers = [];
      for await (const event of stream) numbers.push(event.sequence_number);
      const final = await stream.finalResponse();
      const middle = numbers[Math.floor(numbers.length / 2)];
      const again = client.responses.stream({ response_id: final.id, starting_after: middle });
      const rest = [];
      for await (const event of again) rest.push(event.sequence_number);
      const stored = await client.responses.retrieve(final.id);
      await client.responses.delete(final.id);
      const gone = await client.responses.retrieve(final.id).catch((error) => error.status);
      return {
        text: final.output_text,
        resumed: (await again.finalResponse()).output_text,
        stored: stored.output_text,
        isBehind: rest.length > 0 && Math.min(...rest) > middle,
        gone,
      };
    },
    async reasoning(model) {
      const reasoning = { summary: "auto" };
      const made = await client.responses.create({ model, input: "Think", reasoning });
      const summary = made.output.find((item) => item.type === "reasoning").summary;
      return summary.map((part) => part.text).join("");
    },
    async calls(model) {
      const stream = client.responses.stream({ model, input: "Weather", tools });
      const first = await stream.finalResponse();
      const calls = first.output.filter((item) => item.type === "function_call");
      const input = calls.map(({ call_id }) => ({
        type: "function_call_output",
        call_id,
        output: "sun",
      }));
      const second = await client.responses.create({
        model,
        input,
        previous_response_id: first.id,
        tools,
      });
      return [calls.map((call) => [call.call_id, call.arguments]), second.output_text];
    },
    async image(model) {
      const content = [
        { type: "input_text", text: "Look" },
        { type: "input_image", image_url: IMAGE, detail: "auto" },
      ];
      const made = await client.responses.create({ model, input: ask(content) });
      return made.output_text;
    },
    async schema(model) {
      const schema = { type: "object", properties: { name: { type: "string" } } };
      const format = { type: "json_schema", name: "city", schema };
      const made = client.responses.parse({ model, input: "City", text: { format } });
      return made.then((found) => found.output_parsed).catch(refused);
    },
    async conversation(model) {
      const items = [1, 2, 3, 4, 5].map((n) => ({ type: "message", ...ask(`${n}`)[0] }));
      const made = await client.conversations.create({ items });
      const found = new Set();
      for await (const item of client.conversations.items.list(made.id, { limit: 2 }))
        found.add(item.id);
      const answer = await client.responses.create({ model, input: "x", conversation: made.id });
      return [found.size, answer.conversation.id === made.id];
    },
  };
}

async function vercelScenarios(name, provider) {
  const { generateText, streamText, tool, jsonSchema, stepCountIs, Output } = await import(name);
  const { createOpenAI } = await import(provider);
  const openai = createOpenAI({ baseURL: BASE_URL, apiKey: KEY });
  const weather = tool({
    description: "The weather of a city",
    inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
    execute: async ({ city }) => `Sunny in ${city}`,
  });
  const common = (model) => ({ model: openai(model), maxRetries: 0 });
  return {
    async text(model) {
      const result = streamText({ ...common(model), prompt: "Hello" });
      let text = "";
      for await (const piece of result.textStream) text += piece;
      const usage = await result.usage;
      return [text, typeof usage.totalTokens, await result.finishReason];
    },
    async reasoning(model) {
      const options = { reasoningSummary: "auto", forceReasoning: true };
      const result = await generateText({
        ...common(model),
        prompt: "Think",
        providerOptions: { openai: options },
      });
      return result.reasoningText;
    },
    // Two calls at once, their results, then a second turn with the history as the SDK keeps it:
    // with references to what is stored here.
    async calls(model) {
      const asked = { ...common(model), tools: { weather }, stopWhen: stepCountIs(3) };
      const first = await generateText({ ...asked, messages: ask("Weather") });
      const messages = [
        ...ask("Weather"),
        // In version 7 the last response has its own step's messages alone.
        ...(first.responseMessages ?? first.response.messages),
        ...ask("Hello"),
      ];
      const second = await generateText({ ...asked, messages });
      return [first.steps[0].toolResults.map(({ output }) => output), first.text, second.text];
    },
    async image(model) {
      const content = [
        { type: "text", text: "Look" },
        { type: "file", data: IMAGE.split(",")[1], mediaType: "image/png" },
      ];
      return (await generateText({ ...common(model), messages: ask(content) })).text;
    },
    async schema(model) {
      const schema = jsonSchema({
        type: "object",
        properties: { name: { type: "string" } },
        required: ["name"],
        additionalProperties: false,
      });
      const made = generateText({
        ...common(model),
        prompt: "City",
        [name === "ai" ? "experimental_output" : "output"]: Output.object({ schema }),
      });
      return made
        .then((found) => found.output ?? found.experimental_output)
        .catch((error) => refused(error.data?.error ?? error));
    },
    // With `conversation` the SDK leaves out what has an id: it is stored there.
    async conversation(model) {
      const answer = await fetch(`${BASE_URL}/conversations`, {
        method: "POST",
        headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
        body: "{}",
      });
      const { id } = await answer.json();
      const asked = {
        ...common(model),
        tools: { weather },
        stopWhen: stepCountIs(3),
        providerOptions: { openai: { conversation: id } },
      };
      const first = await generateText({ ...asked, messages: ask("Weather") });
      const second = await generateText({ ...asked, messages: ask("Hello") });
      const listed = await fetch(`${BASE_URL}/conversations/${id}/items?order=asc`, {
        headers: { authorization: `Bearer ${KEY}` },
      });
      const kinds = (await listed.json()).data.map((item) => item.role ?? item.type);
      return [first.text, second.text, kinds];
    },
  };
}

// How a client shows a refusal: the field that is named.
function refused({ status, param, message }) {
  if (param === undefined) throw new Error(message);
  return { refused: param };
}

const clients = {
  "openai 7": await openaiScenarios("openai"),
  "openai 6": await openaiScenarios("openai-6"),
  "ai 7": await vercelScenarios("ai-7", "@ai-sdk/openai"),
  "ai 6": await vercelScenarios("ai", "ai-sdk-openai-3"),
};
const found = {};
for (const [client, scenarios] of Object.entries(clients))
  for (const model of MODELS.split(" "))
    for (const [scenario, play] of Object.entries(scenarios))
      found[`${client}, ${model}, ${scenario}`] = await play(model).catch((error) => `${error.stack}`);
console.log(JSON.stringify(found));
