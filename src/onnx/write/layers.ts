import { codeRange } from '../../formats/activations.js';
import { hashCodes } from '../../formats/hashed.js';
import { formatOf, type Weights } from '../../formats/index.js';
import { outputRange } from '../../formats/outputs.js';
import { ofRow } from '../../formats/scales.js';
import {
  type Clamp,
  type Conv2dNode,
  givesFloats,
  isClamped,
  type LayerNode,
  type LinearNode,
  type PoolNode,
  type ValueId,
} from '../../graph/ir.js';
import { imageAxes, isConcrete } from '../../graph/shapes.js';
import type { WindowOptions } from '../../layers/geometry.js';
import type { Quantization } from '../../plan/problem.js';
import { DOMAIN, FORMAT_SPECS, type PartArray, partType } from '../domain.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { encodePages, encodePart } from './coded.js';
import { type Context, Refused, type Stage } from './context.js';
import { type Attributes, bytesOf } from './file.js';
import type { Order } from './values.js';
import { arrange, codesTensor, nBits, permuteColumns, standardWeights } from './weights.js';

const { FLOAT, INT32, INT8 } = TensorProto_DataType;

const TO_NCHW: Order = [0, 3, 1, 2];
const NCHW: Order = [0, 1, 2, 3];

/** The order of an image that ONNX's operators read. */
export const imageOrder = ({ layout }: Conv2dNode | PoolNode): Order => (layout === 'NHWC' ? TO_NCHW : NCHW);

const pair = (value: WindowOptions['stride']): [number, number] =>
  typeof value === 'object' ? [value[0], value[1]] : [value ?? 1, value ?? 1];

/** The attributes that convolutions and pools share. */
export function windowAttributes({ kernel, stride, dilation, padding = 'valid' }: WindowOptions): Attributes {
  const named = typeof padding === 'string';
  const dilations = pair(dilation);
  return {
    kernel_shape: pair(kernel),
    strides: pair(stride),
    ...(dilations.some((d) => d !== 1) && { dilations }),
    ...(named && padding !== 'valid' && { auto_pad: padding === 'same' ? 'SAME_UPPER' : 'SAME_LOWER' }),
    ...(!named && { pads: [...padding] }),
  };
}

/** Convolutions and linear layers. */
export function writeLayer(c: Context, node: LayerNode): ValueId {
  const { inputCodes, result } = node;
  if (givesSums(node) && isSums(node)) return writeSums(c, node);
  const own = givesSums(node) || !biasFits(node);
  const exact = own && !c.huffman ? qLinear(c, node) : undefined;
  if (exact) return exact;
  const flat = node.op === 'linear' ? c.flattened.get(node.inputs[0]) : undefined;
  const order = node.op === 'conv2d' ? imageOrder(node) : c.values.plain(node.inputs[0]);
  if (own) {
    const input = c.values.get(node.inputs[0], order);
    return finish(c, node, domainLayer(c, node, input, true), order, []);
  }
  let input: string;
  if (flat) input = inputCodes ? realOf(c, node, flat.name) : flat.name;
  else if (!inputCodes) input = c.values.get(node.inputs[0], order);
  else if (c.values.ownType(node.inputs[0]) !== FLOAT) {
    input = c.dequantized(node.inputs[0], order, inputCodes.scale, inputCodes.zeroPoint);
  } else input = realOf(c, node, quantized(c, node, c.values.get(node.inputs[0], order)));
  const placed = flat ? { ...node, weights: permuteColumns(node.weights, flat.columns) } : node;
  const body =
    (c.huffman ? undefined : node.op === 'conv2d' ? conv(c, placed as Conv2dNode, input) : linear(c, placed, input)) ??
    unpackedLayer(c, placed, input);
  const ends: Stage[] = [...(node.nonlinearity ? c.unary(node.nonlinearity) : []), ...c.clamp(node.clamp)];
  if (result?.quantization) {
    const { scale, zeroPoint, dtype } = result.quantization;
    ends.push({ opType: 'QuantizeLinear', more: c.meaning(scale, zeroPoint, dtype) });
  }
  return finish(c, node, body, order, ends);
}

interface Body {
  inputs: string[];
  stages: Stage[];
}

function finish(c: Context, node: LayerNode, { inputs, stages }: Body, order: Order, ends: Stage[]): ValueId {
  return c.write(node, inputs, [...stages, ...ends], node.op === 'conv2d' ? order : c.values.plain(node.output));
}

/** f32 that was made codes of, as codes. */
function quantized(c: Context, { inputCodes }: LayerNode, input: string): string {
  const { scale, zeroPoint, dtype } = inputCodes!;
  const name = c.file.unique(`${input}.codes`);
  return c.file.node('QuantizeLinear', [input, ...c.meaning(scale, zeroPoint, dtype)], name, {}, name);
}

/** Codes of a layer's input as the numbers that they stand for. */
function realOf(c: Context, { inputCodes }: LayerNode, codes: string): string {
  const { scale, zeroPoint, dtype } = inputCodes!;
  const name = c.file.unique(`${codes}.real`);
  return c.file.node('DequantizeLinear', [codes, ...c.meaning(scale, zeroPoint, dtype)], name, {}, name);
}

/** Dense layers that are stored Huffman-coded are their own kind too; all others have standard forms where there are. */
function unpackedLayer(c: Context, node: LayerNode, input: string): Body {
  const standard = ['dense', 'f16'].includes(node.weights.format);
  const body = standard ? (node.op === 'conv2d' ? conv(c, node, input) : linear(c, node, input)) : undefined;
  return body ?? domainLayer(c, node, input, false);
}

function convAttributes(node: Conv2dNode): Attributes {
  return { ...windowAttributes(node.window), group: node.groups };
}

function conv(c: Context, node: Conv2dNode | LayerNode, input: string): Body | undefined {
  if (node.op !== 'conv2d') return undefined;
  const weights = standardWeights(c.file, node, arrange(node, false));
  if (weights === undefined) return undefined;
  const bias = biasName(c, node);
  const inputs = [input, weights, ...(bias === undefined ? [] : [bias])];
  return { inputs, stages: [{ opType: 'Conv', attributes: convAttributes(node) }] };
}

function linear(c: Context, node: Conv2dNode | LayerNode, input: string): Body | undefined {
  if (node.op !== 'linear') return undefined;
  const isMatrix = c.values.shape(node.inputs[0]).length === 2;
  const bias = () => biasName(c, node);
  const add = (): Stage[] => (node.bias ? [{ opType: 'Add', more: [bias()!] }] : []);
  const grouped = nBits(c.file, node);
  if (grouped) {
    const product: Stage = { opType: 'com.microsoft.MatMulNBits', attributes: grouped.attributes };
    return { inputs: [input, ...grouped.inputs], stages: [product, ...add()] };
  }
  const weights = standardWeights(c.file, node, arrange(node, isMatrix));
  if (weights === undefined) return undefined;
  if (!isMatrix) return { inputs: [input, weights], stages: [{ opType: 'MatMul' }, ...add()] };
  const inputs = [input, weights, ...(node.bias ? [bias()!] : [])];
  return { inputs, stages: [{ opType: 'Gemm', attributes: { transB: 1 } }] };
}

/** The scale of each row's sums of codes. */
function sumScales({ weights, inputCodes }: LayerNode): Float32Array {
  const { scale } = weights as { scale: Float32Array };
  return scale.map((s) => Math.fround(inputCodes!.scale) * s);
}

/** The bias as f32: int32 ones as quantisers have them. */
function biasName(c: Context, node: LayerNode): string | undefined {
  const { bias, name } = node;
  if (!bias) return undefined;
  const title = `${name}.bias`;
  if (bias instanceof Float32Array) return c.file.array(title, bias, FLOAT);
  const scales = sumScales(node);
  const perRow = scales.length > 1;
  if (perRow) c.file.need(13);
  const codes = c.file.initializer(`${title}.codes`, [bias.length], INT32, () => bytesOf(bias));
  const scale = c.file.initializer(`${title}.scale`, perRow ? [bias.length] : [], FLOAT, () => bytesOf(scales));
  const output = c.file.unique(title);
  return c.file.node('DequantizeLinear', [codes, scale], output, perRow ? { axis: 0 } : {}, output);
}

/** Whether a bias of integers is the same again when it has been f32. */
function biasFits(node: LayerNode): boolean {
  const { bias, weights, inputCodes } = node;
  if (!(bias instanceof Int32Array)) return true;
  if (!inputCodes || !('scale' in weights) || !(weights.scale instanceof Float32Array)) return false;
  if (weights.scale.length !== 1 && weights.scale.length !== weights.rows) return false;
  const scales = sumScales(node);
  return bias.every((b, r) => {
    const real = Math.fround(Math.fround(b) * ofRow(scales, r));
    return Math.round(real / (Math.fround(inputCodes.scale) * ofRow(weights.scale as Float32Array, r))) === b;
  });
}

const givesSums = (node: LayerNode): boolean => !givesFloats(node) && !node.result!.quantization;

/** Whether MatMulInteger or ConvInteger is all that a layer does. */
function isSums({ weights, bias, clamp, inputCodes, nonlinearity }: LayerNode): boolean {
  const { format } = weights;
  return format === 'int8' && !bias && !isClamped(clamp) && inputCodes !== undefined && !nonlinearity;
}

function writeSums(c: Context, node: LayerNode): ValueId {
  const { weights, inputCodes } = node;
  if (weights.format !== 'int8') throw new TypeError(node.name);
  const order = node.op === 'conv2d' ? imageOrder(node) : c.values.plain(node.inputs[0]);
  const floats = c.values.ownType(node.inputs[0]) === FLOAT;
  const given = c.values.get(node.inputs[0], order);
  const input = floats ? quantized(c, node, given) : given;
  const [, zero] = c.meaning(1, inputCodes!.zeroPoint, inputCodes!.dtype);
  const at = arrange(node, false);
  // The codes alone: their scale means nothing to sums.
  const codes = codesTensor(c.file, node.name, weights, at);
  const { zeroPoint } = weights;
  const zeroDims = zeroPoint && zeroPoint.length > 1 ? [zeroPoint.length] : [];
  const zeros =
    zeroPoint && c.file.initializer(`${node.name}.weight.zero_point`, zeroDims, INT8, () => bytesOf(zeroPoint));
  const inputs = [input, codes, zero, ...(zeros === undefined ? [] : [zeros])];
  const stage: Stage =
    node.op === 'conv2d' ? { opType: 'ConvInteger', attributes: convAttributes(node) } : { opType: 'MatMulInteger' };
  return finish(c, node, { inputs, stages: [stage] }, order, []);
}

/** What codes mean, as attributes of our own operators. */
export function codes(what: string, { dtype, scale, zeroPoint }: Quantization): Attributes {
  return { [`${what}_type`]: dtype, [`${what}_scale`]: { float: scale }, [`${what}_zero_point`]: zeroPoint };
}

export function clampAttributes([min, max]: Clamp): Attributes {
  const limits = Object.entries({ min, max }).filter(([, x]) => Number.isFinite(x));
  return Object.fromEntries(limits.map(([name, x]) => [name, { float: x }]));
}

/** Whether a clamp leaves every code as it is. */
function leavesCodes({ clamp, result }: LayerNode): boolean {
  const { dtype } = result!.quantization!;
  const [min, max] = outputRange({ output: result!, clamp: [...clamp] });
  const [least, most] = codeRange(dtype);
  return min === least && max === most;
}

/** QLinearConv or QGemm, whose bias is int32; undefined where those do not do what the layer does. */
function qLinear(c: Context, node: LayerNode): ValueId | undefined {
  const { name, weights, bias, inputCodes, result, nonlinearity } = node;
  const [input] = node.inputs;
  const isMatrix = node.op === 'linear' && c.values.shape(input).length === 2;
  if (node.op === 'linear' && !isMatrix) return undefined;
  if (weights.format !== 'int8' || !inputCodes || !result?.quantization || nonlinearity) return undefined;
  const { scale, zeroPoint = new Int8Array(scale.length) } = weights;
  if (!leavesCodes(node) || zeroPoint.length !== scale.length) return undefined;
  const order = node.op === 'conv2d' ? imageOrder(node) : c.values.plain(input);
  const given = c.values.get(input, order);
  const codesName = c.values.ownType(input) === FLOAT ? quantized(c, node, given) : given;
  const dims = scale.length > 1 ? [scale.length] : [];
  const meant = [
    codesTensor(c.file, name, weights, arrange(node, true)),
    c.file.initializer(`${name}.weight.scale`, dims, FLOAT, () => bytesOf(scale)),
    c.file.initializer(`${name}.weight.zero_point`, dims, INT8, () => bytesOf(zeroPoint)),
  ];
  const x = [codesName, ...c.meaning(inputCodes.scale, inputCodes.zeroPoint, inputCodes.dtype)];
  const { quantization: y } = result;
  const output = c.meaning(y.scale, y.zeroPoint, y.dtype);
  const sums = bias ? part(c, `${name}.bias`, bias as PartArray) : '';
  const body: Body =
    node.op === 'conv2d'
      ? {
          inputs: [...x, ...meant, ...output, ...(sums ? [sums] : [])],
          stages: [{ opType: 'QLinearConv', attributes: convAttributes(node) }],
        }
      : {
          inputs: [...x, ...meant, sums, ...output],
          stages: [{ opType: 'com.microsoft.QGemm', attributes: { transB: 1 } }],
        };
  return finish(c, node, body, order, []);
}

/**
 * A layer in our own domain: its weights as the format has them.
 * @param whole with what it takes and gives as codes and its clamp, which else are operators of their own
 */
function domainLayer(c: Context, node: LayerNode, input: string, whole: boolean): Body {
  const { weights, bias, inputCodes, result, clamp } = node;
  const { format, rows, cols } = weights;
  const spec = FORMAT_SPECS[format];
  formatOf(weights).validate(weights, `layer "${node.name}": weights`);
  const fields = weights as unknown as Record<string, PartArray | number>;
  const numbers = Object.entries(spec.attributes ?? {}).map(([name, field]) => [name, fields[field] as number]);
  const seed = seedOf(weights);
  const attributes: Attributes = {
    format,
    rows,
    cols,
    ...Object.fromEntries(numbers),
    ...(seed !== undefined && { seed }),
    ...(node.op === 'conv2d' && convAttributes(node)),
    ...(node.op === 'conv2d' && node.binaryPadding === 'one' && { binary_padding: 'one' }),
    ...(whole && {
      ...(inputCodes && codes('x', inputCodes)),
      ...(result?.quantization ? codes('y', result.quantization) : result ? { y_type: result.dtype } : {}),
      ...clampAttributes(clamp),
    }),
  };
  if (whole && node.nonlinearity) throw new Refused(`${node.nonlinearity} of integers`);
  const biasPart = whole && bias ? part(c, `${node.name}.bias`, bias as PartArray) : (biasName(c, node) ?? '');
  const parts = spec.parts.map(({ field }) => {
    const data = fields[field] as PartArray | undefined;
    if (data === undefined || (seed !== undefined && field === 'codes')) return '';
    const title = `${node.name}.weight.${field}`;
    const encode = () =>
      (c.huffman ? encodePart(c.file, title, field, weights) : undefined) ?? encodePages(c.file, title, field, weights);
    return c.file.once(weights, field, encode) ?? part(c, title, data);
  });
  while (parts.at(-1) === '') parts.pop();
  const opType = `${DOMAIN}.${node.op === 'conv2d' ? 'Conv' : 'Linear'}`;
  return { inputs: [input, biasPart, ...parts], stages: [{ opType, attributes }] };
}

function part(c: Context, title: string, data: PartArray): string {
  return c.file.array(title, data, partType(data));
}

/** What the codes of hashed weights follow from. */
function seedOf(weights: Weights): number | undefined {
  if (weights.format !== 'codebook' || weights.seed === undefined) return undefined;
  const { rows, cols, entries, seed, codes } = weights;
  const hashed = hashCodes(rows, cols, entries, seed);
  return codes.every((code, i) => code === hashed[i]) ? seed : undefined;
}

export function writePool(c: Context, node: PoolNode): ValueId {
  const [input] = node.inputs;
  const order = imageOrder(node);
  const average = node.op === 'averagePool2d';
  const { codes, window } = node;
  if (!average && c.values.ownType(input) !== FLOAT) c.file.need(12);
  const given = codes
    ? c.dequantized(input, order, codes.input.scale, codes.input.zeroPoint)
    : c.values.get(input, order);
  const name = average ? 'AveragePool' : 'MaxPool';
  const stages: Stage[] = [{ opType: `Global${name}` }];
  // ONNX has no GlobalMaxPool of codes.
  const slides = window === 'global' && !average && c.values.ownType(input) !== FLOAT ? wholeImage(c, node) : window;
  if (slides !== 'global') {
    const attributes: Attributes = {
      ...windowAttributes(slides),
      ...(slides.ceilMode && { ceil_mode: 1 }),
      ...(average && node.countIncludePad && { count_include_pad: 1 }),
    };
    if (average && attributes.dilations) c.file.need(19);
    stages[0] = { opType: name, attributes };
  }
  if (codes) {
    const { scale, zeroPoint, dtype } = codes.output;
    stages.push({ opType: 'QuantizeLinear', more: c.meaning(scale, zeroPoint, dtype) });
  }
  return c.write(node, [given], stages, order);
}

function wholeImage(c: Context, { inputs: [input], layout }: PoolNode): WindowOptions {
  const axes = imageAxes(layout);
  const kernel = [axes.height, axes.width].map((axis) => c.values.shape(input)[axis]);
  if (!isConcrete(kernel)) throw new Refused('the largest code of an image of open size');
  return { kernel: [kernel[0], kernel[1]] };
}

/** Whether the columns of a layer may come in another order than the graph has them in. */
export function takesMovedColumns(c: Context, node: LinearNode): boolean {
  return !c.huffman && !givesSums(node) && biasFits(node);
}
