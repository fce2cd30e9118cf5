// Where the peers' packages are imported: plain JavaScript, with types of our own beside it, so that the rest of the
// repository type-checks where they are not installed.
export const loadOrt = () => import('onnxruntime-web/wasm');
export const loadLiteRtModule = () => import('@litertjs/core');
export const loadTfjs = async () => ({
  tf: await import('@tensorflow/tfjs-core'),
  wasm: await import('@tensorflow/tfjs-backend-wasm'),
});
export const loadTfjsWebgpu = async () => {
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-backend-webgpu');
  // Bundled for Node it is CommonJS, whose names are those of the default export.
  return tf.default ?? tf;
};
