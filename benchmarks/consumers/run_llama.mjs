// Runs in node-llama-cpp's environment: the GGUF by llama.cpp, texts as a user would send them.
import fs from "node:fs";
import path from "node:path";
import { Template } from "@huggingface/jinja";
import { getLlama } from "node-llama-cpp";

const [folder, output] = process.argv.slice(2);
const told = JSON.parse(fs.readFileSync(path.join(folder, "expected.json")));
const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1 });
const version = `node-llama-cpp 3.22.1, llama.cpp ${llama.llamaCppRelease.release}`;
const start = fs.readFileSync(path.join(folder, "gguf", "README.md"), "utf8")
  .match(/^<\|adept_0\|>.*$/m)[0];

async function answer(model, ids, count, options = {}, stop = true) {
  const context = await model.createContext({ contextSize: 512, threads: 1 });
  const sequence = context.getSequence();
  const found = [];
  const begun = performance.now();
  for await (const token of sequence.evaluate(ids, { temperature: 0, ...options, yieldEogToken: true })) {
    if (stop && model.isEogToken(token)) break;
    found.push(token);
    if (found.length >= count) break;
  }
  const seconds = (performance.now() - begun) / 1000;
  await context.dispose();
  return { found, seconds };
}

const model = await llama.loadModel({ modelPath: path.join(folder, "gguf", "model.gguf") });
const texts = [];
let ids = 0;
for (const [i, prompt] of told.prompts.entries()) {
  const given = model.tokenize(start + prompt, true);
  ids += JSON.stringify([...given]) === JSON.stringify(told.ids[i]) ? 1 : 0;
  const { found } = await answer(model, given, told.new_tokens);
  texts.push(model.detokenize(found));
}
// the file's chat template, by another engine than transformers'
const template = new Template(model.fileInfo.metadata.tokenizer.chat_template);
const asked = told.prompts.filter((prompt) => prompt.endsWith("\nAnswer:"));
const chats = asked.filter((prompt) => {
  const content = prompt.slice(0, -"\nAnswer:".length);
  const text = template.render({ messages: [{ role: "user", content }], add_generation_prompt: true });
  return JSON.stringify([...model.tokenize(text, true)]) === JSON.stringify(told.ids[told.prompts.indexOf(prompt)]);
}).length;
const first = model.tokenize(start + told.prompts[0], true);
const rate = async (ids) => 64 / (await answer(model, ids, 64, {}, false)).seconds;
const speed = Math.max(await rate(first), await rate(first));
const plain = [...told.plain_prefix, ...first.slice(told.prefix.length)];
const base = Math.max(await rate(plain), await rate(plain));
const total = Number(process.env.SAMPLED ?? 10000);
let drawn = 0, virtual = 0;
while (drawn < total) {
  const { found } = await answer(
    model, first, Math.min(200, total - drawn), { temperature: 2, topK: 0, topP: 1, minP: 0, seed: drawn + 1 }, false);
  drawn += found.length;
  virtual += found.filter((id) => id >= told.words).length;
}
fs.writeFileSync(output, JSON.stringify({
  version, ids, texts,
  tokens_per_second: speed, base_tokens_per_second: base, sampled: { drawn, virtual },
  note: asked.length ? `ids of ${chats} of ${asked.length} chats by the file's template` : "",
}, null, 1) + "\n");
process.exit(0);
