import { loadTflite } from '../../tflite/index.js';
import { opensWith } from './ours.js';

export const open = opensWith(loadTflite);
