// ollama-js; `node --test` runs it.

// --8<-- [start:example]
import { Ollama } from "ollama";
import { z } from "zod";

const ollama = new Ollama({ host: process.env.OPENAI_BASE_URL.replace(/\/v1$/, "") });

const City = z.object({ name: z.enum(["Oslo", "Rome"]) });
const messages = [{ role: "user", content: "Hi" }];

const answer = async (model) => (await ollama.chat({ model, messages })).message.content;

const structured = async (model) => {
  const { message } = await ollama.chat({ model, messages, format: z.toJSONSchema(City) });
  return City.parse(JSON.parse(message.content));
};
// --8<-- [end:example]

import assert from "node:assert/strict";
import { test } from "node:test";

const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

test("an answer, whole and streamed", async () => {
  assert.equal(await answer("tiny/talker"), TEXT);
  let text = "";
  for await (const part of await ollama.chat({ model: "tiny/talker", messages, stream: true })) text += part.message.content;
  assert.equal(text, TEXT);
  assert.equal((await ollama.generate({ model: "tiny/talker", prompt: "Hi" })).response, TEXT);
});

test("structured output", async () => assert.ok(["Oslo", "Rome"].includes((await structured("tiny/maker")).name)));

test("a tool and its result", async () => {
  const { message } = await ollama.chat({ model: "tiny/tools", messages, tools });
  assert.deepEqual(message.tool_calls[0].function.arguments, { city: "Oslo" });
  const turns = [...messages, message, { role: "tool", content: "rain", tool_name: "get_weather" }];
  assert.equal((await ollama.chat({ model: "tiny/tools", messages: turns, tools })).message.content, "It rains in Oslo.");
});

test("thinking", async () => {
  const { message } = await ollama.chat({ model: "tiny/thinker", messages, think: true });
  assert.deepEqual([message.thinking, message.content], ["Two and two.", "Four."]);
});

test("listings", async () => {
  assert.ok((await ollama.list()).models.some((model) => model.name === "tiny/talker"));
  assert.ok((await ollama.show({ model: "tiny/talker" })).capabilities.includes("completion"));
  assert.ok((await ollama.ps()).models.length);
});

test("errors", async () => {
  await assert.rejects(ollama.chat({ model: "acme/missing", messages }), (error) => error.status_code === 404);
});

test("an aborted stream frees its place", async () => {
  const status = async () => (await fetch(`${process.env.OPENAI_BASE_URL}/status`)).json();
  const before = (await status()).counters.cancelled;
  const stream = await ollama.chat({ model: "tiny/endless", messages, stream: true });
  await assert.rejects(
    (async () => {
      for await (const part of stream) if (part.message.content) stream.abort();
    })(),
  );
  for (let i = 0; i < 500; i++) {
    const now = await status();
    if (now.active === 0 && now.responses === 0 && now.counters.cancelled > before) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail("the stream goes on");
});
