import type { MatmulProblem } from '../../src/plan/problem.js';

// What kernels that walk windows (asm/shared/windows.ts) have in common.

/** Pixels of an image: exactly those that windows read, padding included. */
export function imageSize({ window: w }: MatmulProblem): { width: number; height: number } {
  return {
    width: (w.outWidth - 1) * w.strideWidth + (w.kernelWidth - 1) * w.dilationWidth + 1,
    height: (w.outHeight - 1) * w.strideHeight + (w.kernelHeight - 1) * w.dilationHeight + 1,
  };
}

/** Values of all images, where a pixel has room for so many. */
export function imageElements(p: MatmulProblem, pixel: number): number {
  const { width, height } = imageSize(p);
  return p.window.batch * height * width * pixel;
}

/** True where some window reaches over the border of the input. */
export function isPadded(p: MatmulProblem): boolean {
  const { window: w } = p;
  const { width, height } = imageSize(p);
  return w.padTop > 0 || w.padLeft > 0 || width > w.inWidth || height > w.inHeight;
}

/** Taps of windows as runs of memory: lines of them where they are neighbours, else single ones. */
export function runsOf({ window: w, groups, channels }: MatmulProblem): { runs: number; length: number } {
  const lines = groups === 1 && (w.dilationWidth === 1 || w.kernelWidth === 1);
  return lines
    ? { runs: w.kernelHeight, length: w.kernelWidth * channels }
    : { runs: w.kernelHeight * w.kernelWidth, length: channels / groups };
}
