// The OpenAI SDK for JavaScript; `node --test` runs it.

// --8<-- [start:example]
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 }); // reads OPENAI_BASE_URL and OPENAI_API_KEY
const City = z.object({ name: z.enum(["Oslo", "Rome"]), population: z.number().int().min(0).max(99) });

const structured = async (model) => {
  const messages = [{ role: "user", content: "Name a city." }];
  const response_format = zodResponseFormat(City, "city");
  return (await client.chat.completions.parse({ model, messages, response_format })).choices[0].message.parsed;
};

const response = async (model) => (await client.responses.create({ model, input: "Hi" })).output_text;

const structuredResponse = async (model) => {
  const text = { format: zodTextFormat(City, "city") };
  return (await client.responses.parse({ model, input: "Name a city.", text })).output_parsed;
};
// --8<-- [end:example]

import assert from "node:assert/strict";
import { test } from "node:test";

const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";
const messages = [{ role: "user", content: "Hi" }];
const tools = [
  {
    type: "function",
    function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
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

test("structured output, whole and streamed", async () => {
  assert.ok(["Oslo", "Rome"].includes((await structured("tiny/maker")).name));
  const stream = client.chat.completions.stream({ model: "tiny/maker", messages, response_format: zodResponseFormat(City, "city") });
  assert.ok(["Oslo", "Rome"].includes((await stream.finalChatCompletion()).choices[0].message.parsed.name));
});

test("a required tool", async () => {
  for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
    const { message } = (await chat({ model: "tiny/tools", tools, tool_choice })).choices[0];
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: "Oslo" });
  }
});

test("responses, whole and streamed", async () => {
  assert.equal(await response("tiny/talker"), TEXT);
  const stream = client.responses.stream({ model: "tiny/talker", input: "Hi" });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  assert.equal((await stream.finalResponse()).output_text, TEXT);
  assert.equal(text, TEXT);
  assert.ok(["Oslo", "Rome"].includes((await structuredResponse("tiny/maker")).name));
});

test("a response's tool, its result and its errors", async () => {
  const [weather] = tools.map(({ function: f }) => ({ type: "function", ...f }));
  const model = "tiny/tools";
  const first = await client.responses.create({ model, input: "Hi", tools: [weather], tool_choice: "required" });
  const call = first.output.find((item) => item.type === "function_call");
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "rain" }];
  const second = await client.responses.create({ model, input, tools: [weather], previous_response_id: first.id });
  assert.equal(second.output_text, "It rains in Oslo.");
  await assert.rejects(response("acme/missing"), OpenAI.NotFoundError);
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
