/** A module that `npm run build` compiles from asm/, in base64. */
declare module 'thinfer:wasm/*' {
  const base64: string;
  export default base64;
}

/** The script of a thread, bundled from src/wasm/pool/worker.ts. */
declare module 'thinfer:worker' {
  const text: string;
  export default text;
}
