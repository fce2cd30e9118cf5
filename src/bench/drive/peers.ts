// Peers as the user installed them: where their packages lie, and which models they read.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Wrapped } from '../../../bench/wrapped.js';
import type { BackendName } from '../../plan/variant.js';
import type { Contender } from '../page/types.js';
import type { PeerName } from '../results.js';
import { findPackage } from './packages.js';
import type { Subject } from './run.js';

export interface PeerFiles {
  name: PeerName;
  version: string;
  /** Of our module that opens a model with it. */
  script: string;
  /** Of the peer's own module. */
  entry(backend: BackendName): string;
  /** Why it can't run a model, or undefined. */
  refuses(subject: Subject): string | undefined;
  /** The model as the peer takes it, where that is another file, and what codes in ours mean. */
  rewrite?(bytes: Uint8Array): { bytes: Uint8Array; codes: Contender['codes'] } | undefined;
}

export const PACKAGES: Readonly<Record<PeerName, readonly string[]>> = {
  ort: ['onnxruntime-web'],
  litert: ['@litertjs/core', '@litertjs/wasm-utils'],
  tfjs: ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-wasm'],
};

const isTflite = ({ file }: Subject) => file.toLowerCase().endsWith('.tflite');
const REFUSES: Readonly<Record<PeerName, (subject: Subject) => string | undefined>> = {
  ort: (subject) => (isTflite(subject) ? 'it reads ONNX' : undefined),
  litert: (subject) => (isTflite(subject) ? undefined : 'it reads TensorFlow Lite'),
  tfjs: () => 'it reads neither ONNX nor TensorFlow Lite; it takes part in thinfer bench shapes',
};

/** LiteRT.js takes no 8-bit inputs and gives no such outputs: a QUANTIZE before and a DEQUANTIZE behind change that. */
function withFloats(bytes: Uint8Array) {
  const wrapped = new Wrapped(bytes);
  const { inputs, outputs } = wrapped;
  if (![...inputs, ...outputs].some(Boolean)) return undefined;
  return { bytes: wrapped.bytes(), codes: { inputs, outputs } };
}

/** Where a package is put on the server. */
export const modulesPath = (name: string): string => `/peers/${name}/`;

const FILES: Readonly<Record<PeerName, Readonly<Record<BackendName | 'node', string>>>> = {
  ort: {
    wasm: 'onnxruntime-web/dist/ort.wasm.min.mjs',
    webgpu: 'onnxruntime-web/dist/ort.webgpu.min.mjs',
    node: 'onnxruntime-web/dist/ort.node.min.mjs',
  },
  litert: { wasm: '@litertjs/core/dist/index.js', webgpu: '@litertjs/core/dist/index.js', node: '' },
  tfjs: { wasm: '', webgpu: '', node: '' },
};

/**
 * The peers that are there.
 * @param scripts where our modules lie: a URL
 * @param server absent: they run in Node
 */
export function findPeers(
  names: readonly PeerName[],
  scripts: string,
  server: string | undefined,
  notes: string[],
): { peers: PeerFiles[]; folders: Record<string, string> } {
  const peers: PeerFiles[] = [];
  const folders: Record<string, string> = {};
  for (const name of names) {
    const found = PACKAGES[name].map((one) => ({ one, at: findPackage(one) }));
    const missing = found.filter(({ at }) => !at).map(({ one }) => one);
    if (missing.length > 0) {
      notes.push(`${name} does not take part: npm install ${missing.join(' ')}`);
      continue;
    }
    if (!server && !FILES[name].node) {
      notes.push(`${name} does not run in Node`);
      continue;
    }
    for (const { one, at } of found) folders[modulesPath(one)] = at!.folder;
    const { folder, version } = found[0].at!;
    const inNode = () => pathToFileURL(join(folder, FILES[name].node.slice(PACKAGES[name][0].length))).href;
    peers.push({
      name,
      version,
      script: `${scripts}${name}.js`,
      entry: (backend) => (server ? `${server}/peers/${FILES[name][backend]}` : inNode()),
      refuses: REFUSES[name],
      rewrite: name === 'litert' ? withFloats : undefined,
    });
  }
  return { peers, folders };
}

/** What bare names in peers' modules stand for. */
export const IMPORT_MAP = {
  imports: { '@litertjs/wasm-utils': `${modulesPath('@litertjs/wasm-utils')}dist/index.js` },
};
