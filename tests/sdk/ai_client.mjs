// One scenario with Vercel's AI SDK, whose OpenAI provider calls Responses by default.
const { generateText, streamText, tool, jsonSchema, stepCountIs } = await import(process.env.PACKAGE);
const { createOpenAI } = await import(process.env.PROVIDER);

const openai = createOpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.KEY });
const model = openai("test-model");
const weather = tool({
  description: "The weather of a city",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
  execute: async ({ city }) => `Sunny in ${city}`,
});

const scenarios = {
  async text() {
    const result = streamText({ model, prompt: "x", maxRetries: 0 });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    const usage = await result.usage;
    return { text, usage: usage.totalTokens, reason: await result.finishReason };
  },
  // Two calls at once, their results, then a second turn with the history as the SDK keeps it.
  async tools() {
    const asked = { model, tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 };
    const messages = [{ role: "user", content: "Weather?" }];
    const first = await generateText({ ...asked, messages });
    const history = [
      ...messages,
      // In version 7 the last response has its own step's messages alone.
      ...(first.responseMessages ?? first.response.messages),
      { role: "user", content: "And now?" },
    ];
    const second = await generateText({ ...asked, messages: history });
    return {
      first: first.text,
      second: second.text,
      results: first.steps[0].toolResults.map((result) => result.output),
    };
  },
  async reasoning() {
    const result = await generateText({
      model,
      prompt: "x",
      maxRetries: 0,
      providerOptions: { openai: { reasoningSummary: "auto", forceReasoning: true } },
    });
    return { text: result.text, reasoning: result.reasoningText };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
