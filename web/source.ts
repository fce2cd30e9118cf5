// From the picture at hand to a model's inputs.
import type { ModelInputs, ValueReport } from '../src/graph/model.js';
import { product } from '../src/plan/strides.js';
import { hasLightBorder, type ImageInput, imageInput, invert, type Scaling, toTensor } from './image.js';
import type { Stage } from './stage.js';

/** Sizes that open dimensions get at first: the batch 1, images as most networks want them. */
function usualSize(rank: number, axis: number): number {
  if (axis === 0) return 1;
  return rank === 4 ? 224 : 16;
}

/** Inputs of a model, with sizes for what it leaves open. */
export class Inputs {
  readonly #values: readonly ValueReport[];
  /** By the names of open dimensions. */
  readonly sizes = new Map<string, number>();
  #seed = 1;

  constructor(values: readonly ValueReport[]) {
    this.#values = values;
    for (const { shape } of values) {
      for (const [axis, dim] of shape.entries()) {
        if (typeof dim === 'string' && !this.sizes.has(dim)) this.sizes.set(dim, usualSize(shape.length, axis));
      }
    }
  }

  /** Open dimensions that are not the first of an input. */
  get open(): string[] {
    const batches = new Set(this.#values.map(({ shape }) => shape[0]));
    return [...this.sizes.keys()].filter((name) => !batches.has(name));
  }

  #shapeOf({ shape }: ValueReport): number[] {
    return shape.map((dim) => (typeof dim === 'number' ? dim : this.sizes.get(dim)!));
  }

  /** The first input that a picture fits. */
  get image(): ImageInput | undefined {
    return this.#images[0]?.image;
  }

  get #images() {
    return this.#values.flatMap((value) => {
      const image = imageInput(this.#shapeOf(value), value.dtype);
      return image ? [{ value, image }] : [];
    });
  }

  /** Other numbers for what is no picture. */
  reseed(): void {
    this.#seed++;
  }

  /**
   * @param invertLight turn grey pictures with a light border into dark ones
   * @param preview shows what the network sees
   */
  tensors(stage: Stage, scaling: Scaling, invertLight: boolean, preview: (pixels: ImageData) => void): ModelInputs {
    const [picture] = this.#images;
    return Object.fromEntries(
      this.#values.map((value) => {
        const shape = this.#shapeOf(value);
        if (value !== picture?.value) return [value.name, { shape, data: this.#numbers(shape, value.dtype) }];
        const { image } = picture;
        const pixels = stage.pixels(image.width, image.height);
        const turned = image.channels === 1 && invertLight && hasLightBorder(pixels.data, image.width, image.height);
        if (turned) invert(pixels.data);
        preview(pixels);
        return [value.name, { shape, data: toTensor(pixels.data, image, scaling) }];
      }),
    );
  }

  /** Numbers of no meaning: 0..1, and 0 or 1 where integers are wanted. */
  #numbers(shape: readonly number[], dtype: ValueReport['dtype']) {
    const length = product(shape);
    const next = (i: number) => (Math.abs(Math.sin((i + 1) * 12.9898 * this.#seed)) * 43758.5453) % 1;
    const Type = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int32: Int32Array }[dtype];
    return new Type(length).map((_, i) => (dtype === 'float32' ? next(i) : Math.round(next(i))));
  }
}
