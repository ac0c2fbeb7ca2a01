// Runs in node-llama-cpp's environment: one extended base as GGUF, two LoRA files, one a request.
import fs from "node:fs";
import path from "node:path";
import { getLlama } from "node-llama-cpp";

const [folder, output] = process.argv.slice(2);
const two = path.join(folder, "two");
const read = (name) => JSON.parse(fs.readFileSync(path.join(name, "expected.json")));
const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1 });
const model = await llama.loadModel({ modelPath: path.join(two, "base.gguf") });

async function answers(told, lora) {
  const texts = [];
  for (const ids of told.ids) {
    const adapters = lora ? [{ filePath: path.join(two, `${lora}.gguf`) }] : [];
    const context = await model.createContext({ contextSize: 512, threads: 1, lora: { adapters } });
    const found = [];
    for await (const token of context.getSequence().evaluate(ids, { temperature: 0, yieldEogToken: true })) {
      if (model.isEogToken(token)) break;
      found.push(token);
      if (found.length >= told.new_tokens) break;
    }
    await context.dispose();
    texts.push(model.detokenize(found));
  }
  return texts;
}

const same = (texts, told) => texts.filter((text, i) => text.trim() === told.texts[i].trim()).length;
const first = read(folder), second = read(two);
const texts = await answers(first, "first");
const others = same(await answers(second, "second"), second);
const again = same(await answers(first, "first"), first);
const without = same(await answers(first, null), first);
fs.writeFileSync(output, JSON.stringify({
  version: `node-llama-cpp 3.22.1, llama.cpp ${llama.llamaCppRelease.release}`, texts,
  note: `ids are given; a second LoRA on the same base: ${others} of ${second.texts.length} texts, `
    + `the first again: ${again}, without one: ${without}`,
}, null, 1) + "\n");
process.exit(0);
