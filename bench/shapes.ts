// The sizes that are timed: names, and how a size is written.

export interface LinearShape {
  op: 'linear';
  M: number;
  K: number;
  N: number;
}

/** A convolution of one NHWC image with SAME padding. */
export interface ConvShape {
  op: 'conv2d';
  height: number;
  width: number;
  channels: number;
  outputs: number;
  kernel: number;
  stride: number;
  groups: number;
}

export type Shape = LinearShape | ConvShape;

/** Sizes by name; some are in several groups and are timed once. */
export const SHAPES: Record<string, readonly string[]> = {
  square: ['512x512x512'],
  mlp: ['784x256x256', '16x1024x1024'],
  gemv: ['1x1024x1024', '1x4096x4096'],
  bert: ['128x768x768', '128x768x3072', '128x3072x768'],
  llama: ['1x4096x4096', '1x4096x11008'],
  conv: ['56x56x64x64x3', '14x14x256x256x3', '14x14x256x1024x1'],
  mobilenet: ['112x112x64x64x3g64', '14x14x512x512x3g512'],
  resnet50: [
    '224x224x3x64x7s2',
    '56x56x64x64x3',
    '28x28x128x128x3',
    '14x14x256x256x3',
    '7x7x512x512x3',
    '56x56x256x64x1',
    '14x14x256x1024x1',
    '1x2048x1000',
  ],
};

/** A convolution, a product and a single row: enough for a first look. */
export const QUICK: readonly string[] = ['784x256x256', '1x1024x1024', '14x14x256x256x3'];

/**
 * Reads `MxKxN`, or `HxWxCxNxK` with optional `s<stride>` and `g<groups>` behind it.
 * @throws Error that says how a size is written
 */
export function parseShape(text: string): Shape {
  const linear = /^(\d+)x(\d+)x(\d+)$/.exec(text);
  const conv = /^(\d+)x(\d+)x(\d+)x(\d+)x(\d+)(?:s(\d+))?(?:g(\d+))?$/.exec(text);
  const numbers = (linear ?? conv)?.slice(1).map((part) => Number(part ?? 1));
  if (!numbers || numbers.some((size) => size < 1)) {
    throw new Error(
      `shape ${text}: expected MxKxN (784x256x256), HxWxCxNxK with s<stride> and g<groups> (56x56x64x64x3, ` +
        `112x112x64x64x3g64), or one of ${Object.keys(SHAPES).join(', ')}`,
    );
  }
  if (linear) {
    const [M, K, N] = numbers;
    return { op: 'linear', M, K, N };
  }
  const [height, width, channels, outputs, kernel, stride, groups] = numbers;
  if (channels % groups || outputs % groups) {
    throw new Error(`shape ${text}: ${groups} groups do not divide ${channels} channels and ${outputs} outputs`);
  }
  return { op: 'conv2d', height, width, channels, outputs, kernel, stride, groups };
}

/** Names and sizes to sizes, each once. */
export function expandShapes(names: readonly string[]): string[] {
  const sizes = names.flatMap((name) => SHAPES[name] ?? [name]);
  for (const size of sizes) parseShape(size);
  return [...new Set(sizes)];
}

/** [rows, cols] of the weights: all groups' outputs, and the inputs of one. */
export function weightShape(shape: Shape): { rows: number; cols: number } {
  if (shape.op === 'linear') return { rows: shape.N, cols: shape.K };
  return { rows: shape.outputs, cols: (shape.kernel ** 2 * shape.channels) / shape.groups };
}

export const inputSize = (shape: Shape): number =>
  shape.op === 'linear' ? shape.M * shape.K : shape.height * shape.width * shape.channels;

/** What a reader sees above the table. */
export function describeShape(text: string): string {
  const shape = parseShape(text);
  const groups = Object.keys(SHAPES).filter((name) => SHAPES[name].includes(text));
  const from = groups.length > 0 ? ` (${groups.join(', ')})` : '';
  if (shape.op === 'linear') return `linear M=${shape.M} K=${shape.K} N=${shape.N}${from}`;
  const { height, width, channels, outputs, kernel, stride, groups: parts } = shape;
  const apart = parts === channels && parts > 1 ? ', depthwise' : parts > 1 ? `, ${parts} groups` : '';
  const size = `${kernel}x${kernel} ${channels} -> ${outputs}, ${height}x${width}`;
  return `conv2d ${size}${stride > 1 ? `, stride ${stride}` : ''}${apart}${from}`;
}
