// The page that runs models with LiteRT.js for litert-answers.ts.
import { loadLiteRtModule } from './peers/modules.js';

const litert = await loadLiteRtModule();
await litert.loadLiteRt(new URL('/peers/@litertjs/core/wasm/', location.href).href, { threads: false });

const TYPES = { Float32Array, Int32Array };
type TypeName = keyof typeof TYPES;

/** Elements, by the name of their array, in base64. */
export interface Packed {
  type: string;
  shape: readonly number[];
  data: string;
}

const bytesOf = (text: string) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const textOf = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** The answers of one model. */
async function answer(model: string, inputs: readonly Packed[]): Promise<Packed[]> {
  const compiled = await litert.loadAndCompile(bytesOf(model), { accelerator: 'wasm', cpuOptions: { numThreads: 1 } });
  const tensors = inputs.map(({ type, shape, data }) => {
    const array = new TYPES[type as TypeName](bytesOf(data).buffer);
    return new litert.Tensor(array as Float32Array, shape);
  });
  const outputs = await compiled.run(tensors as never);
  return outputs.map((output) => {
    const data = output.toTypedArray() as unknown as Float32Array;
    const { dimensions } = (output as unknown as { type: { layout: { dimensions: ArrayLike<number> } } }).type.layout;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { type: data.constructor.name, shape: Array.from(dimensions), data: textOf(bytes) };
  });
}

Object.assign(globalThis, { answer });
