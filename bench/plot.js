// Beside its declarations, so that types are checked without the packages of the benchmark.
export { dot, line, plot, text } from '@observablehq/plot';
