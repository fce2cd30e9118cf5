// What esbuild needs to know about our sources; users of the built package need none of it.
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { root } from './paths.js';
import { wasmFile } from './wasm.js';

/**
 * Removes comments, indentation and empty lines from WGSL. WGSL has no strings, and its block comments nest.
 * Line breaks stay: they are what an error message counts.
 */
export function minifyWgsl(source: string): string {
  let code = '';
  let depth = 0;
  for (let i = 0; i < source.length; i++) {
    const two = source.slice(i, i + 2);
    if (two === '/*') {
      depth++;
      i++;
    } else if (depth > 0 && two === '*/') {
      depth--;
      i++;
      code += ' ';
    } else if (depth === 0 && two === '//') {
      while (i + 1 < source.length && source[i + 1] !== '\n') i++;
    } else if (depth === 0 || source[i] === '\n') {
      code += source[i];
    }
  }
  return code
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join('\n');
}

/** `import source from './x.wgsl'` is the shader's text. */
export const wgslText: Plugin = {
  name: 'wgsl-text',
  setup(build) {
    build.onLoad({ filter: /\.wgsl$/ }, async ({ path }) => ({
      contents: minifyWgsl(await readFile(path, 'utf8')),
      loader: 'text',
    }));
  },
};

/** `import base64 from 'thinfer:wasm/a'` is a compiled module of asm/ in base64. */
export const wasmBase64: Plugin = {
  name: 'wasm-base64',
  setup(build) {
    build.onResolve({ filter: /^thinfer:wasm\// }, ({ path }) => ({
      path: path.slice('thinfer:'.length),
      namespace: 'thinfer',
      sideEffects: false,
    }));
    build.onLoad({ filter: /^wasm\//, namespace: 'thinfer' }, ({ path }) => {
      const file = wasmFile(path.slice('wasm/'.length));
      return {
        contents: `export default ${JSON.stringify(readFileSync(file).toString('base64'))};`,
        loader: 'js',
        watchFiles: [file],
      };
    });
  },
};

/** The script of a thread as one text: src/wasm/pool/worker.ts with what it imports. */
export async function workerText(): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['src/wasm/pool/worker.ts'],
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    external: ['node:*'],
    minify: true,
    write: false,
  });
  return outputFiles[0].text;
}

/** `import text from 'thinfer:worker'` is that script. */
export const workerScript: Plugin = {
  name: 'worker-script',
  setup(plugin) {
    plugin.onResolve({ filter: /^thinfer:worker$/ }, ({ path }) => ({
      path,
      namespace: 'thinfer',
      sideEffects: false,
    }));
    plugin.onLoad({ filter: /^thinfer:worker$/, namespace: 'thinfer' }, async () => ({
      contents: await workerText(),
      loader: 'text',
    }));
  },
};

export const plugins: Plugin[] = [wgslText, wasmBase64, workerScript];

/** A bundle for Node that needs nothing installed beside it but Dawn. */
export const standalone: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['webgpu'],
  // Packages written for require() ask for it.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  plugins,
  logLevel: 'warning',
};
