// bench/peers/modules.js for pages of the command: the packages of the user, as the server shows them.

const classic = (src: string): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${src} did not load`));
    script.src = src;
    document.head.append(script);
  });

export const loadOrt = (): Promise<unknown> => import('/peers/onnxruntime-web/dist/ort.wasm.min.mjs' as string);
export const loadLiteRtModule = (): Promise<unknown> => import('/peers/@litertjs/core/dist/index.js' as string);

/** Its bundles for browsers name one global. */
export async function loadTfjs(): Promise<unknown> {
  await classic('/peers/@tensorflow/tfjs-core/dist/tf-core.min.js');
  await classic('/peers/@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js');
  const { tf } = globalThis as unknown as { tf: { wasm: unknown } };
  return { tf, wasm: tf.wasm };
}
