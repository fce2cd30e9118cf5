/** WGSL files are imported as their text (esbuild: `--loader:.wgsl=text`). */
declare module '*.wgsl' {
  const source: string;
  export default source;
}
