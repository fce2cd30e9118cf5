import { elementCount, requireInteger, ThinferError } from '../errors.js';
import type { WindowGeometry } from '../plan/problem.js';

/** A pair [height, width], or one number for both. */
export type Pair = number | readonly [height: number, width: number];

/** The sliding window of a convolution or pooling, as a caller describes it. */
export interface WindowOptions {
  /** [kernelHeight, kernelWidth] */
  kernel: Pair;
  /** Default 1. */
  stride?: Pair;
  /** Default 1. */
  dilation?: Pair;
  /**
   * Pixels around the image: [top, left, bottom, right], `valid` (none, the default), or `same`: the output has
   * ceil(input / stride) pixels, the odd pixel goes to the bottom and right (TensorFlow's SAME, ONNX's SAME_UPPER);
   * `sameLower` puts it to the top and left.
   */
  padding?: 'valid' | 'same' | 'sameLower' | readonly [top: number, left: number, bottom: number, right: number];
  /** Round the output size up: windows may start inside the image and end outside its padding. Pooling only. */
  ceilMode?: boolean;
}

function pair(value: Pair | undefined, place: string, min = 1): [number, number] {
  const [height, width] = typeof value === 'object' ? value : [value ?? 1, value ?? 1];
  requireInteger(height, `${place}[0]`, { min, max: 1 << 16, code: 'bad-shape' });
  requireInteger(width, `${place}[1]`, { min, max: 1 << 16, code: 'bad-shape' });
  return [height, width];
}

/** One axis: padding before, padding after, output size. */
function axis(
  input: number,
  kernel: number,
  stride: number,
  dilation: number,
  padding: Exclude<WindowOptions['padding'], undefined>,
  side: 0 | 1,
  ceilMode: boolean,
  place: string,
): [before: number, after: number, out: number] {
  const extent = (kernel - 1) * dilation + 1;
  if (padding === 'same' || padding === 'sameLower') {
    const out = Math.ceil(input / stride);
    const total = Math.max((out - 1) * stride + extent - input, 0);
    const before = padding === 'same' ? total >> 1 : (total + 1) >> 1;
    return [before, total - before, out];
  }
  const [before, after] = padding === 'valid' ? [0, 0] : [padding[side], padding[side + 2]];
  requireInteger(before, `${place}.padding[${side}]`, { max: 1 << 16, code: 'bad-shape' });
  requireInteger(after, `${place}.padding[${side + 2}]`, { max: 1 << 16, code: 'bad-shape' });
  const steps = (input + before + after - extent) / stride;
  if (steps < 0) {
    throw new ThinferError({
      code: 'bad-shape',
      place: `${place}.kernel[${side}]`,
      expected: `a window of at most ${input + before + after} (the padded image)`,
      got: `${extent} (kernel ${kernel}, dilation ${dilation})`,
    });
  }
  let out = (ceilMode ? Math.ceil(steps) : Math.floor(steps)) + 1;
  // A window that would start in the trailing padding is left out (the rule of PyTorch and ONNX).
  if (ceilMode && (out - 1) * stride >= input + before) out--;
  return [before, after, out];
}

/**
 * The geometry of a window over NHWC images of `batch` x `height` x `width`.
 * @throws ThinferError `bad-shape` when a size is out of range or the window exceeds the padded image
 */
export function windowGeometry(
  options: WindowOptions,
  [batch, height, width]: readonly [batch: number, height: number, width: number],
  place: string,
): WindowGeometry {
  elementCount([batch, height, width], `${place}.input`);
  const [kernelHeight, kernelWidth] = pair(options.kernel, `${place}.kernel`);
  const [strideHeight, strideWidth] = pair(options.stride, `${place}.stride`);
  const [dilationHeight, dilationWidth] = pair(options.dilation, `${place}.dilation`);
  const padding = options.padding ?? 'valid';
  const ceil = options.ceilMode ?? false;
  const [padTop, padBottom, outHeight] = axis(
    height,
    kernelHeight,
    strideHeight,
    dilationHeight,
    padding,
    0,
    ceil,
    place,
  );
  const [padLeft, padRight, outWidth] = axis(width, kernelWidth, strideWidth, dilationWidth, padding, 1, ceil, place);
  elementCount([batch, outHeight, outWidth], `${place}.output`);
  return {
    batch,
    inHeight: height,
    inWidth: width,
    kernelHeight,
    kernelWidth,
    strideHeight,
    strideWidth,
    dilationHeight,
    dilationWidth,
    padTop,
    padLeft,
    padBottom,
    padRight,
    outHeight,
    outWidth,
  };
}

/** The window of `linear`: 1x1 over one image of 1 x M pixels. */
export function linearWindow(M: number): WindowGeometry {
  return {
    batch: 1,
    inHeight: 1,
    inWidth: M,
    kernelHeight: 1,
    kernelWidth: 1,
    strideHeight: 1,
    strideWidth: 1,
    dilationHeight: 1,
    dilationWidth: 1,
    padTop: 0,
    padLeft: 0,
    padBottom: 0,
    padRight: 0,
    outHeight: 1,
    outWidth: M,
  };
}
