// What people do with the Node SDK, with the base URL changed and nothing else.
import assert from "node:assert";
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];

const models = [];
for await (const item of client.models.list()) models.push(item.id);
assert(models.includes(model));
assert.equal((await client.models.retrieve(model)).id, model);

const answer = await client.chat.completions.create({ model, messages });
assert.equal(answer.choices[0].message.content, "Hello, world.");
assert.equal(answer.usage.completion_tokens, 14);

let text = "";
const stream = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, "Hello, world.");

const controller = new AbortController();
const left = await client.chat.completions.create({ model, messages, stream: true }, { signal: controller.signal });
for await (const chunk of left) { controller.abort(); break; }

await assert.rejects(client.chat.completions.create({ model, messages, temperature: 5 }), OpenAI.BadRequestError);
await assert.rejects(client.chat.completions.create({ model: "nobody/nothing", messages }), OpenAI.NotFoundError);
console.log("done");
