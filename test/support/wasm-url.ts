/**
 * In the browser: where the test server has dist/wasm, as a page has it that allows no workers from blobs. In Node:
 * undefined, for the copies inlined in the package.
 */
export const wasmUrl: string | undefined =
  typeof process === 'object' && process.versions?.node ? undefined : `${location.origin}/wasm`;
