// The OpenAI SDK for Node; `node --test` runs it.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";
const messages = [{ role: "user", content: "Hi" }];
const tools = [
  {
    type: "function",
    function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];

const chat = (options) => client.chat.completions.create({ model: "tiny/talker", messages, ...options });

test("models are listed and told of one by one", async () => {
  const listed = [];
  for await (const model of await client.models.list()) listed.push(model.id);
  assert.ok(listed.includes("tiny/talker"));
  assert.equal((await client.models.retrieve("tiny/talker")).id, "tiny/talker");
});

test("a whole answer", async () => {
  const answer = await chat();
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(answer._request_id);
});

test("a stream says the same and tells its usage", async () => {
  let text = "";
  let usage;
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, TEXT);
  assert.deepEqual(usage, (await chat()).usage);
});

test("the stream helper", async () => {
  const stream = client.chat.completions.stream({ model: "tiny/talker", messages });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  assert.equal(await stream.finalContent(), TEXT);
  assert.equal(text, TEXT);
});

test("tools in a stream", async () => {
  const stream = client.chat.completions.stream({ model: "tiny/caller", messages, tools });
  const [call] = (await stream.finalMessage()).tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Oslo" });
});

test("errors have their types", async () => {
  await assert.rejects(chat({ model: "nobody/nothing" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.code === "model_not_found" && Boolean(error.requestID);
  });
  await assert.rejects(chat({ temperature: 3 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === "temperature";
  });
  const long = [{ role: "user", content: "x".repeat(500) }];
  await assert.rejects(chat({ model: "tiny/narrow", messages: long }), { code: "context_length_exceeded" });
});

for (const stream of [true, false]) {
  test(`an abort frees the place, ${stream ? "in" : "without"} a stream`, async () => {
    const before = (await client.get("/status")).counters.cancelled;
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const answer = client.chat.completions.create({ model: "tiny/endless", messages, stream }, options);
    if (stream) {
      for await (const _ of await answer) break;
      controller.abort();
    } else {
      answer.catch(() => {});
      while ((await client.get("/status")).active === 0) await pause();
      controller.abort();
      await assert.rejects(answer, OpenAI.APIUserAbortError);
    }
    for (let i = 0; i < 500; i++) {
      const now = await client.get("/status");
      if (now.active === 0 && now.counters.cancelled > before) return;
      await pause();
    }
    assert.fail("its place is still taken");
  });
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
