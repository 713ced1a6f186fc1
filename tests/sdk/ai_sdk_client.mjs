// All calls with Vercel's AI SDK and its OpenAI-compatible provider; prints JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, streamText, tool } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const provider = (apiKey) =>
  createOpenAICompatible({ name: "mine", baseURL: process.env.BASE_URL, apiKey, includeUsage: true });
const mine = provider(process.env.KEY);
const common = { model: mine("test-model"), prompt: "Hello 漢", maxRetries: 0 };

const scenarios = {
  async chat() {
    const { text, usage, finishReason } = await generateText({ ...common, system: "Be kind" });
    return { text, tokens: usage.totalTokens, reason: finishReason };
  },
  async stream() {
    const result = streamText(common);
    let text = "";
    for await (const piece of result.textStream) text += piece;
    return { text, reasoning: await result.reasoningText, tokens: (await result.usage).totalTokens };
  },
  async tools() {
    const inputSchema = jsonSchema({ type: "object", properties: { city: { type: "string" } } });
    const { toolCalls } = await generateText({ ...common, tools: { weather: tool({ inputSchema }) } });
    return toolCalls.map(({ toolName, input }) => ({ toolName, input }));
  },
  async embedding() {
    const found = await embed({ model: mine.textEmbeddingModel("test-model"), value: "a", maxRetries: 0 });
    return found.embedding;
  },
  async refusal() {
    return generateText(common).catch(({ name, statusCode, message }) => ({ name, statusCode, message }));
  },
  async wrongKey() {
    const model = provider("wrong")("test-model");
    return generateText({ ...common, model }).catch(({ name, statusCode }) => ({ name, statusCode }));
  },
};

const found = {};
for (const [name, call] of Object.entries(scenarios)) found[name] = await call();
console.log(JSON.stringify(found));
