import type { Weights } from '../formats/format.js';
import type { Problem } from '../plan/problem.js';
import type { Device, Layout, VariantBase } from '../plan/variant.js';

/** A constant of type f32; plain numbers in `Consts` are u32. */
export interface F32Const {
  f32: number;
}

/** A constant of type i32. */
export interface I32Const {
  i32: number;
}

/** What a stage writes above its WGSL: `const NAME: u32 = 3u;` and so on. Lists become `array<u32, length>`. */
export type Consts = Readonly<Record<string, number | boolean | readonly number[] | F32Const | I32Const>>;

/**
 * One dispatch. Its shader is a block of `const` lines, the snippets, then the file as it stands; its entry point is
 * `main`. The file says which buffers it wants: the names of its `@binding` variables are looked up among
 * `input`, `input2`, `output`, `params`, the operands of the layout (with `bias`) and the scratch buffers.
 */
export interface Stage {
  /** Name of the file, for error messages and GPU labels. */
  label: string;
  /** Text of the WGSL file. */
  source: string;
  /** WGSL extensions, such as `subgroups`: the first lines of the text. */
  enables?: readonly string[];
  /** Texts of the shared WGSL files that it relies on. */
  snippets?: readonly string[];
  consts?: Consts;
  /** u32 values of `var<uniform> params`: sizes that change from run to run without a new shader. */
  params?: readonly number[];
  /** Parts of operands to bind instead of the whole, in bytes; offsets are multiples of 256. */
  slices?: Readonly<Record<string, readonly [offset: number, bytes: number]>>;
  /** Number of workgroups; the shader's workgroup index is `id.x + id.y * grid.x`, and may exceed this. */
  workgroups: number;
}

/** A row of the WebGPU table. */
export interface WebgpuVariant<P extends Problem = Problem> extends VariantBase<P> {
  /** How the row wants its weights; absent for operators without weights. */
  // biome-ignore lint/suspicious/noExplicitAny: a table holds layouts of every format
  layout?: Layout<any>;
  /** The dispatches in order. `weights` are those of the operands, where there are any. */
  stages(p: P, device: Device, weights?: Weights): Stage[];
  /** Bytes of each buffer that lives from one stage to the next. */
  scratch?(p: P): Record<string, number>;
}

function literal(value: Consts[string], place: string): [type: string, text: string] {
  if (typeof value === 'boolean') return ['bool', String(value)];
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) throw new Error(`${place} = ${value} is no u32`);
    return ['u32', `${value}u`];
  }
  if ('i32' in value) return ['i32', String(value.i32)];
  if ('f32' in value) {
    const text = String(Math.fround(value.f32));
    return ['f32', /^-?\d+$/.test(text) ? `${text}.0` : text];
  }
  const type = `array<u32, ${value.length}>`;
  return [type, `${type}(${value.map((element) => literal(element, place)[1]).join(', ')})`];
}

/** The text that the GPU compiles, and the key of its pipeline. */
export function shaderText({ label, source, enables = [], snippets = [], consts = {} }: Stage): string {
  const extensions = enables.map((name) => `enable ${name};\n`);
  const lines = Object.entries(consts).map(([name, value]) => {
    const [type, text] = literal(value, `${label}: ${name}`);
    return `const ${name}: ${type} = ${text};\n`;
  });
  return [[...extensions, ...lines].join(''), ...snippets, source].join('\n');
}

/** A buffer that a shader declares. */
export interface Binding {
  index: number;
  name: string;
  type: 'uniform' | 'read-only-storage' | 'storage';
}

/** The buffers that a shader declares, e.g. `@group(0) @binding(0) var<storage, read> input: array<f32>;` */
export function bindingsOf(text: string): Binding[] {
  const declaration = /^@group\(0\) @binding\((\d+)\) var<(uniform|storage)(?:, (read|read_write))?> (\w+)/gm;
  return [...text.matchAll(declaration)].map(([, index, space, access, name]) => ({
    index: Number(index),
    name,
    type: space === 'uniform' ? 'uniform' : access === 'read_write' ? 'storage' : 'read-only-storage',
  }));
}

/** Workgroups as [x, y]: no dimension may exceed the device's limit. */
export function foldGrid(workgroups: number, limit: number): [x: number, y: number] {
  if (workgroups <= limit) return [workgroups, 1];
  const y = Math.ceil(workgroups / limit);
  return [Math.ceil(workgroups / y), y];
}
