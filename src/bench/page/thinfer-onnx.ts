import { loadOnnx } from '../../onnx/index.js';
import { opensWith } from './ours.js';

export const open = opensWith(loadOnnx);
