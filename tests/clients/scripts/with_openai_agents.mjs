// The OpenAI Agents SDK for JavaScript; `node --test` runs it.

// --8<-- [start:example]
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool } from "@openai/agents";
import { z } from "zod";

setTracingDisabled(true); // traces go to OpenAI

const City = z.object({ name: z.enum(["Oslo", "Rome"]), population: z.number().int() });
const getWeather = tool({
  name: "get_weather",
  description: "Return the weather in a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `rain in ${city}`,
});

// It reads OPENAI_BASE_URL and OPENAI_API_KEY.
const runner = (useResponses = true) => new Runner({ modelProvider: new OpenAIProvider({ useResponses }) });

const run = async (agent, useResponses) => (await runner(useResponses).run(agent, "Hi")).finalOutput;

const answer = (model, api) => run(new Agent({ name: "Keeper", instructions: "Be brief.", model }), api);
const structured = (model, api) => run(new Agent({ name: "Maker", model, outputType: City }), api);
const useTool = (model, api) => run(new Agent({ name: "Reporter", model, tools: [getWeather] }), api);
// --8<-- [end:example]

import assert from "node:assert/strict";
import { test } from "node:test";

const TEXT = "The keeper said: «ça va, 你好» 🌊 and left.";

for (const [name, api] of [["responses", true], ["chat", false]]) {
  test(`${name}: an answer`, async () => assert.equal(await answer("tiny/talker", api), TEXT));

  test(`${name}: structured output`, async () => {
    assert.ok(["Oslo", "Rome"].includes((await structured("tiny/maker", api)).name));
  });

  test(`${name}: a strict tool`, async () => assert.equal(await useTool("tiny/tools", api), "It rains in Oslo."));

  test(`${name}: a required tool`, async () => {
    const agent = new Agent({
      name: "Reporter",
      model: "tiny/tools",
      tools: [getWeather],
      modelSettings: { toolChoice: "required" },
      toolUseBehavior: "stop_on_first_tool",
    });
    assert.equal(await run(agent, api), "rain in Oslo");
  });

  test(`${name}: a stream`, async () => {
    const agent = new Agent({ name: "Reporter", model: "tiny/tools", tools: [getWeather] });
    const result = await runner(api).run(agent, "Hi", { stream: true });
    let text = "";
    for await (const piece of result.toTextStream()) text += piece;
    await result.completed;
    assert.equal(text, "It rains in Oslo.");
  });

  test(`${name}: an error`, async () => {
    await assert.rejects(answer("acme/missing", api), (error) => error.status === 404);
  });
}
