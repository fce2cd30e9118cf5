// Test images to choose from.
import type { Batch } from './answers.js';
import { FASHION } from './models.js';

const PIXELS = 28 * 28;
/** Shown of those that are there. */
const SHOWN = 18;

/**
 * Reads images.bin: for each image a byte for its class and 784 for its pixels.
 * @throws Error when there is none
 */
export async function loadTestImages(url: string): Promise<Batch> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const count = Math.floor(bytes.length / (PIXELS + 1));
  const labels = Uint8Array.from({ length: count }, (_, i) => bytes[i * (PIXELS + 1)]);
  const pixels = new Float32Array(count * PIXELS);
  for (let i = 0; i < count; i++) {
    const image = bytes.subarray(i * (PIXELS + 1) + 1, (i + 1) * (PIXELS + 1));
    for (const [k, value] of image.entries()) pixels[i * PIXELS + k] = value / 255;
  }
  return { count, pixels, labels };
}

export class Strip {
  readonly #box: HTMLElement;
  readonly #onChoice: (picture: HTMLCanvasElement) => void;
  #images: Batch | undefined;
  #buttons: HTMLButtonElement[] = [];
  #choosing = false;

  constructor(box: HTMLElement, onChoice: (picture: HTMLCanvasElement) => void) {
    this.#box = box;
    this.#onChoice = onChoice;
  }

  get count(): number {
    return this.#images?.count ?? 0;
  }

  /** Shows the first images, and chooses the first. */
  show(images: Batch): void {
    this.#images = images;
    this.#buttons = Array.from({ length: Math.min(SHOWN, images.count) }, (_, i) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.title = FASHION[images.labels[i]];
      button.setAttribute('aria-label', `${button.title}, test image ${i + 1}`);
      button.append(pictureOf(this.#pixelsOf(i)));
      button.addEventListener('click', () => this.choose(i));
      return button;
    });
    this.#box.replaceChildren(...this.#buttons);
    this.choose(0);
  }

  choose(index: number): void {
    this.#choosing = true;
    this.#onChoice(pictureOf(this.#pixelsOf(index)));
    this.#choosing = false;
    this.#mark(index);
  }

  /** Another picture is at hand, unless it was chosen here. */
  changed(): void {
    if (!this.#choosing) this.#mark(undefined);
  }

  #mark(index: number | undefined): void {
    for (const [i, button] of this.#buttons.entries()) button.setAttribute('aria-pressed', String(i === index));
  }

  #pixelsOf(index: number): Float32Array {
    return this.#images!.pixels.subarray(index * PIXELS, (index + 1) * PIXELS);
  }
}

function pictureOf(pixels: Float32Array): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = 28;
  canvas.height = 28;
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(28, 28);
  for (const [i, value] of pixels.entries()) {
    image.data.fill(value * 255, 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
