// The few functions of Observable Plot that the benchmark calls.

export type Mark = unknown;
export function plot(options: Record<string, unknown>): Element;
export function line<T>(data: readonly T[], options: Record<string, string | number | ((item: T) => unknown)>): Mark;
export function dot(data: readonly unknown[], options: object): Mark;
export function text(data: readonly unknown[], options: object): Mark;
