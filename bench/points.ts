// What the studies of the scheduler time: a shape, weights of a recipe, and their density, written as one text.

import { createRandom, type Random } from '../test/support/random.js';
import { RECIPES } from './recipes.js';
import { parseShape, type Shape } from './shapes.js';

export interface Point {
  shape: Shape;
  recipe: string;
  density: number;
}

/** What the study of densities asks for, unless it is told. */
export const CROSSOVER_SHAPES = ['784x256x256', '1x1024x1024', '128x768x768', '14x14x256x256x3', '56x56x64x64x3'];
export const CROSSOVER_DENSITIES = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];

/** @param recipe absent: of all that the study compares */
export const pointText = (shape: string, density: number, recipe = ''): string =>
  [shape, recipe, density < 1 ? String(density) : ''].filter(Boolean).join(' ');

/** Reads what `pointText` wrote. */
export function parsePoint(text: string): Point {
  const [shape, ...words] = text.split(' ');
  const recipe = words.find((word) => word in RECIPES) ?? '';
  return { shape: parseShape(shape), recipe, density: Number(words.find((word) => !(word in RECIPES)) ?? 1) };
}

/** Recipes whose layers take and give f32. */
export const floatRecipes = (names: readonly string[]): string[] => names.filter((name) => !RECIPES[name].traffic);

/** Uniform on a logarithmic scale. */
const between = (random: Random, low: number, high: number): number => low * (high / low) ** random.next();
const whole = (random: Random, low: number, high: number): number => Math.round(between(random, low, high));

/** One in so many points is a convolution, and of these one in so many depthwise. */
const CONV_SHARE = 0.3;
const DEPTHWISE_SHARE = 0.2;
/** Most columns of weights. */
const MOST_K = 2048;

function convolution(random: Random): string {
  const size = whole(random, 4, 28);
  const kernel = [1, 3, 3, 5][random.integer(0, 3)];
  const stride = random.integer(0, 3) === 0 ? 2 : 1;
  const tail = stride > 1 ? `s${stride}` : '';
  if (random.next() < DEPTHWISE_SHARE) {
    const channels = whole(random, 16, 512);
    return `${size}x${size}x${channels}x${channels}x${kernel}${tail}g${channels}`;
  }
  const channels = whole(random, 16, Math.floor(MOST_K / kernel ** 2));
  return `${size}x${size}x${channels}x${whole(random, 16, 512)}x${kernel}${tail}`;
}

const linear = (random: Random): string =>
  `${whole(random, 1, 512)}x${whole(random, 16, MOST_K)}x${whole(random, 16, MOST_K)}`;

/** Points drawn at random: the same seed gives the same ones. */
export function randomPoints(count: number, seed: number, recipes: readonly string[]): string[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => {
    const recipe = recipes[random.integer(0, recipes.length - 1)];
    const shape = random.next() < CONV_SHARE ? convolution(random) : linear(random);
    const asked = Number(between(random, 0.02, 0.7).toPrecision(2));
    const { prune, densities } = RECIPES[recipe];
    return pointText(shape, prune ? (densities?.[0] ?? asked) : 1, recipe);
  });
}
