// Runs the models of the TFLite tests with LiteRT.js in a browser and keeps its answers in test/data/tflite/litert.json:
// npx tsx bench/litert-answers.ts. What it can't run is kept with its reason.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { ByteBuffer } from 'flatbuffers';
import type { Browser, Page } from 'puppeteer';
import { findBrowser } from '../scripts/browser.js';
import { launch } from '../scripts/launch.js';
import { root } from '../scripts/paths.js';
import { page, serve } from '../scripts/serve.js';
import { Model, TensorType } from '../test/support/generated/tflite_generated.js';
import { type TfliteCase, tfliteCases } from '../test/support/tflite-cases.js';
import { tfliteFiles } from '../test/support/tflite-files.js';
import { toCodes, toNumbers } from './codes.js';
import { installPeers } from './install.js';
import type { Packed } from './litert-page.js';
import { Wrapped } from './wrapped.js';

declare const answer: (model: string, inputs: readonly Packed[]) => Promise<Packed[]>;

const folder = join(root, 'build/litert');
const LIMIT_MS = 60_000;

const base64 = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('base64');
const pack = (data: ArrayBufferView, shape: readonly number[]): Packed => {
  return { type: data.constructor.name, shape, data: base64(data) };
};

const floatsOf = (text: string) => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer);

installPeers();
await build({
  entryPoints: [join(root, 'bench/litert-page.ts')],
  outdir: folder,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  logLevel: 'warning',
});
const executable = findBrowser();
if (!executable) throw new Error('no browser: set CHROME_PATH');
const server = await serve(
  { '/peers/': join(root, 'bench/node_modules'), '/': folder },
  { '/': page('/litert-page.js'), '/favicon.ico': '' },
);

let browser: Browser | undefined;
let tab: Page | undefined;

/** A page that no model has ended yet. */
async function freshTab(): Promise<Page> {
  if (tab) return tab;
  await browser?.close();
  browser = await launch(executable as string, { adapter: '' });
  tab = await browser.newPage();
  await tab.goto(server.url);
  await tab.waitForFunction(() => 'answer' in globalThis);
  return tab;
}

/** The answers, or why there are none. */
async function answers({ bytes, inputs }: TfliteCase): Promise<Packed[] | string> {
  const wrapped =
    inputs.some(({ data }) => data instanceof Int8Array) || hasCodes(bytes) ? new Wrapped(bytes) : undefined;
  const packed = inputs.map(({ shape, data }, i) => {
    const codes = wrapped?.inputs[i];
    return pack(codes ? toNumbers(data, codes) : data, shape);
  });
  const model = base64(wrapped?.bytes() ?? bytes);
  try {
    const page = await freshTab();
    const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer')), LIMIT_MS));
    const given = await Promise.race([page.evaluate((text, tensors) => answer(text, tensors), model, packed), late]);
    return given.map((output, i) => {
      const codes = wrapped?.outputs[i];
      return codes ? pack(toCodes(floatsOf(output.data), codes), output.shape) : output;
    });
  } catch (error) {
    tab = undefined;
    return error instanceof Error ? error.message.split('\n')[0] : String(error);
  }
}

function hasCodes(bytes: Uint8Array): boolean {
  const [{ tensors, outputs }] = Model.getRootAsModel(new ByteBuffer(bytes)).unpack().subgraphs;
  return outputs.some((index) => tensors[index].type === TensorType.INT8);
}

const { version } = JSON.parse(readFileSync(join(root, 'bench/node_modules/@litertjs/core/package.json'), 'utf8'));
const known: Record<string, Packed[]> = {};
const refused: Record<string, string> = {};
const read = async (path: string) => new Uint8Array(readFileSync(join(root, path)));
for (const model of [...(await tfliteFiles(read)), ...tfliteCases()]) {
  const result = await answers(model);
  if (typeof result === 'string') refused[model.name] = result;
  else known[model.name] = result;
  const what = typeof result === 'string' ? result : result.map(({ type, shape }) => `${type} [${shape}]`).join(', ');
  console.log(`${model.name}: ${what}`);
}
await browser?.close();
await server.close();
const lines = Object.entries(known).map(([name, outputs]) => `${JSON.stringify(name)}:${JSON.stringify(outputs)}`);
writeFileSync(
  join(root, 'test/data/tflite/litert.json'),
  `{"litert":"${version}","refused":${JSON.stringify(refused)},"answers":{\n${lines.join(',\n')}\n}}\n`,
);
