/**
 * In the browser: where the test server has dist/wasm. Its page allows no workers from blobs, so that tests with threads
 * need it. In Node: undefined, for the copies inlined in the package.
 */
export const wasmUrl: string | undefined =
  typeof process === 'object' && process.versions?.node ? undefined : `${location.origin}/wasm`;
