import { loadOnnx } from '../../src/onnx/index.js';
import { opensWith } from './ours.js';

export const open = opensWith(loadOnnx);
