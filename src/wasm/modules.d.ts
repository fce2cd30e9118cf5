/** A module that `npm run build` compiles from asm/, in base64. */
declare module 'thinfer:wasm/*' {
  const base64: string;
  export default base64;
}
