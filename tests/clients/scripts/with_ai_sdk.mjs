// The Vercel AI SDK with @ai-sdk/openai (Responses by default) and @ai-sdk/openai-compatible; `node --test` runs it.

// --8<-- [start:example]
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";

const apiKey = process.env.OPENAI_API_KEY;
const baseURL = process.env.OPENAI_BASE_URL;

const openai = createOpenAI({ baseURL, apiKey }); // openai(name) uses Responses, openai.chat(name) chat completions
const compatible = createOpenAICompatible({ name: "mlxk", baseURL, apiKey, supportsStructuredOutputs: true });

const City = z.object({ name: z.enum(["Oslo", "Rome"]), population: z.number().int().min(0).max(99) });
const weather = tool({
  description: "Return the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `rain in ${city}`,
});

const answer = async (model) => (await generateText({ model, prompt: "Hi" })).text;

const structured = async (model) =>
  (await generateText({ model, output: Output.object({ schema: City }), prompt: "Name a city." })).output;

const useTool = async (model) =>
  (await generateText({ model, prompt: "The weather?", tools: { get_weather: weather }, stopWhen: isStepCount(3) })).text;
// --8<-- [end:example]

import assert from "node:assert/strict";
import { generateObject, streamObject } from "ai";
import { test } from "node:test";

const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";
const providers = { responses: openai, chat: openai.chat, compatible };
const options = { maxRetries: 0 };

for (const [name, provider] of Object.entries(providers)) {
  test(`${name}: an answer, whole and streamed`, async () => {
    assert.equal(await answer(provider("tiny/talker")), TEXT);
    let text = "";
    for await (const piece of streamText({ model: provider("tiny/talker"), prompt: "Hi", ...options }).textStream) text += piece;
    assert.equal(text, TEXT);
  });

  test(`${name}: generateObject and streamObject`, async () => {
    const whole = await generateObject({ model: provider("tiny/maker"), schema: City, prompt: "A city?", ...options });
    assert.ok(["Oslo", "Rome"].includes(whole.object.name));
    const stream = streamObject({ model: provider("tiny/maker"), schema: City, prompt: "A city?", ...options });
    let last;
    for await (const partial of stream.partialObjectStream) last = partial;
    assert.deepEqual(last, await stream.object);
    assert.ok(["Oslo", "Rome"].includes(last.name));
  });

  test(`${name}: an output setting, whole and streamed`, async () => {
    assert.ok(["Oslo", "Rome"].includes((await structured(provider("tiny/maker"))).name));
    const output = Output.object({ schema: City });
    const stream = streamText({ model: provider("tiny/maker"), output, prompt: "A city?", ...options });
    let last;
    for await (const partial of stream.partialOutputStream) last = partial;
    assert.ok(["Oslo", "Rome"].includes(last.name));
  });

  test(`${name}: an array and an enum`, async () => {
    const model = provider("tiny/maker");
    const array = await generateObject({ model, output: "array", schema: City, prompt: "Cities?", ...options });
    assert.ok(array.object.every((city) => ["Oslo", "Rome"].includes(city.name)));
    const choice = await generateObject({ model, output: "enum", enum: ["red", "green"], prompt: "A color?", ...options });
    assert.ok(["red", "green"].includes(choice.object));
  });

  test(`${name}: a tool and its result`, async () => {
    assert.equal(await useTool(provider("tiny/tools")), "It rains in Oslo.");
  });

  test(`${name}: a required tool`, async () => {
    for (const toolChoice of ["required", { type: "tool", toolName: "get_weather" }]) {
      const { toolCalls } = await generateText({
        model: provider("tiny/tools"),
        prompt: "Hi",
        tools: { get_weather: { ...weather, execute: undefined } },
        toolChoice,
        ...options,
      });
      assert.deepEqual(toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Oslo" }]]);
    }
  });

  test(`${name}: an error keeps its status`, async () => {
    await assert.rejects(generateText({ model: provider("acme/missing"), prompt: "Hi", ...options }), (error) => error.statusCode === 404);
  });
}

test("reasoning is a part of its own", async () => {
  for (const model of [compatible("tiny/thinker")]) {
    const { text, reasoningText } = await generateText({ model, prompt: "Hi", ...options });
    assert.deepEqual([text, reasoningText], ["Four.", "Two and two."]);
  }
});

test("an aborted stream frees its place", async () => {
  const status = async () => (await fetch(`${baseURL}/status`)).json();
  const before = (await status()).counters.cancelled;
  const abort = new AbortController();
  const { textStream } = streamText({
    model: compatible("tiny/endless"),
    prompt: "Hi",
    abortSignal: abort.signal,
    onError: () => {},
    ...options,
  });
  for await (const piece of textStream) {
    if (piece) abort.abort();
  }
  for (let i = 0; i < 500; i++) {
    const now = await status();
    if (now.active === 0 && now.responses === 0 && now.counters.cancelled > before) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail("the stream goes on");
});
