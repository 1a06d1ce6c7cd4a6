// The Anthropic SDK for JavaScript; `node --test` runs it.

// --8<-- [start:example]
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL.replace(/\/v1$/, ""); // the SDK adds /v1 itself
const client = new Anthropic({ baseURL, apiKey: process.env.OPENAI_API_KEY, maxRetries: 0 });

const City = z.object({ name: z.enum(["Oslo", "Rome"]) });
const messages = [{ role: "user", content: "Hi" }];

const answer = async (model) => (await client.messages.create({ model, max_tokens: 200, messages })).content[0].text;

const structured = async (model) => {
  const output_config = { format: zodOutputFormat(City) };
  return (await client.messages.parse({ model, max_tokens: 200, messages, output_config })).parsed_output;
};
// --8<-- [end:example]

import assert from "node:assert/strict";
import { test } from "node:test";

const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";
const tools = [
  {
    name: "get_weather",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

test("an answer", async () => assert.equal(await answer("tiny/talker"), TEXT));

test("a stream gives the same message", async () => {
  const stream = client.messages.stream({ model: "tiny/talker", max_tokens: 200, messages });
  let text = "";
  stream.on("text", (piece) => (text += piece));
  assert.equal(await stream.finalText(), TEXT);
  assert.equal(text, TEXT);
});

test("structured output", async () => assert.ok(["Oslo", "Rome"].includes((await structured("tiny/maker")).name)));

test("a tool and its result", async () => {
  for (const tool_choice of [{ type: "auto" }, { type: "any" }, { type: "tool", name: "get_weather" }]) {
    const stream = client.messages.stream({ model: "tiny/tools", max_tokens: 200, messages, tools, tool_choice });
    const message = await stream.finalMessage();
    const call = message.content.find((block) => block.type === "tool_use");
    assert.deepEqual([call.name, call.input, message.stop_reason], ["get_weather", { city: "Oslo" }, "tool_use"]);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "rain" }] };
    const turns = [...messages, { role: "assistant", content: message.content }, result];
    const last = await client.messages.create({ model: "tiny/tools", max_tokens: 200, messages: turns, tools });
    assert.equal(last.content[0].text, "It rains in Oslo.");
  }
});

test("thinking is a block", async () => {
  const thinking = { type: "enabled", budget_tokens: 1024 };
  const message = await client.messages.create({ model: "tiny/thinker", max_tokens: 2048, messages, thinking });
  assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text"]);
});

test("tokens are counted", async () => {
  assert.ok((await client.messages.countTokens({ model: "tiny/talker", messages })).input_tokens > 2);
});

test("errors have their types", async () => {
  await assert.rejects(client.messages.create({ model: "tiny/talker", max_tokens: 0, messages }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create({ model: "acme/missing", max_tokens: 9, messages }), Anthropic.NotFoundError);
});

test("an aborted stream frees its place", async () => {
  const status = async () => (await fetch(`${baseURL}/v1/status`)).json();
  const before = (await status()).counters.cancelled;
  const stream = await client.messages.create({ model: "tiny/endless", max_tokens: 5000, messages, stream: true });
  for await (const event of stream) {
    if (event.type === "content_block_delta") break;
  }
  stream.controller.abort();
  for (let i = 0; i < 500; i++) {
    const now = await status();
    if (now.active === 0 && now.responses === 0 && now.counters.cancelled > before) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail("the stream goes on");
});
