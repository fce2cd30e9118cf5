// From pixels to what a network takes.
import type { ElementType } from '../src/dtype.js';

/** An input that a picture fits. */
export interface ImageInput {
  height: number;
  width: number;
  channels: 1 | 3 | 4;
  /** Planes of one channel each (NCHW), or channels beside each other (NHWC). */
  planar: boolean;
  dtype: ElementType;
}

/** How pixels of 0..255 become the numbers that a network was trained on. Networks that take codes get pixels. */
export const SCALINGS = [
  { name: 'unit', label: '0 to 1' },
  { name: 'signed', label: '-1 to 1' },
  { name: 'bytes', label: '0 to 255' },
  { name: 'imagenet', label: "ImageNet's mean and deviation" },
] as const;

export type Scaling = (typeof SCALINGS)[number]['name'];

/** Mean and standard deviation of ImageNet's red, green and blue, as torchvision's models expect them. */
const IMAGENET = [
  [0.485, 0.229],
  [0.456, 0.224],
  [0.406, 0.225],
];

/** Pictures larger than this are nobody's input: what looks like one is something else. */
const LARGEST = 2048;

/** The input as a picture, if it can be one: [1, C, H, W] or [1, H, W, C] of 1, 3 or 4 channels. */
export function imageInput(shape: readonly number[], dtype: ElementType): ImageInput | undefined {
  if (shape.length !== 4 || shape[0] !== 1 || dtype === 'int32') return undefined;
  const isChannels = (size: number) => size === 1 || size === 3 || size === 4;
  const planar = isChannels(shape[1]);
  if (!planar && !isChannels(shape[3])) return undefined;
  const [height, width] = planar ? shape.slice(2) : shape.slice(1);
  // One pixel is no picture: such inputs are vectors with dimensions to spare.
  if (Math.min(height, width) < 2 || Math.max(height, width) > LARGEST) return undefined;
  return { height, width, channels: (planar ? shape[1] : shape[3]) as 1 | 3 | 4, planar, dtype };
}

/** Brightness of a pixel, after ITU-R BT.601. */
const grey = (rgba: ArrayLike<number>, at: number): number =>
  0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2];

/** True when the border of a picture is lighter than it is dark. */
export function hasLightBorder(rgba: ArrayLike<number>, width: number, height: number): boolean {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (x > 0 && y > 0 && x < width - 1 && y < height - 1) continue;
      sum += grey(rgba, 4 * (y * width + x));
      count++;
    }
  }
  return sum > 127.5 * count;
}

/** Turns light into dark and back, in place. */
export function invert(rgba: Uint8ClampedArray): void {
  for (let i = 0; i < rgba.length; i++) if (i % 4 !== 3) rgba[i] = 255 - rgba[i];
}

/** The tensor of a picture that already has the input's size. */
export function toTensor(rgba: ArrayLike<number>, input: ImageInput, scaling: Scaling) {
  const { height, width, channels, planar, dtype } = input;
  const pixels = height * width;
  const data =
    dtype === 'float32'
      ? new Float32Array(pixels * channels)
      : dtype === 'int8'
        ? new Int8Array(pixels * channels)
        : new Uint8Array(pixels * channels);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < channels; c++) {
      const value = channels === 1 ? grey(rgba, 4 * i) : rgba[4 * i + c];
      data[planar ? c * pixels + i : i * channels + c] = numberOf(value, c, dtype, scaling);
    }
  }
  return data;
}

function numberOf(value: number, channel: number, dtype: ElementType, scaling: Scaling): number {
  if (dtype !== 'float32') return Math.round(value) - (dtype === 'int8' ? 128 : 0);
  switch (scaling) {
    case 'unit':
      return value / 255;
    case 'signed':
      return value / 127.5 - 1;
    case 'bytes':
      return value;
    case 'imagenet': {
      const [mean, deviation] = IMAGENET[Math.min(channel, 2)];
      return (value / 255 - mean) / deviation;
    }
  }
}
