import { ThinferError } from '../../errors.js';
import { type Graph, isBinary, isLayer, type Node, type ValueId } from '../../graph/ir.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import { Context, Refused } from './context.js';
import { type External, NeedsOpset, OnnxFile } from './file.js';
import { isTruncation } from './integers.js';
import { resampledBefore } from './movement.js';
import { choiceOf, writeNode } from './nodes.js';

export interface WriteOptions {
  /**
   * Store codes and columns of weights Huffman-coded, in operators of our own domain that other runtimes do not have.
   * They are packed again when the file is read. Default false.
   */
  huffman?: boolean;
  /**
   * Write sums and products of codes that are rounded as TensorFlow Lite does it in ONNX's operators, which other
   * runtimes have: codes may then differ by one. Default false: in our own domain, where they do not.
   */
  portable?: boolean;
}

export interface ExternalOptions extends WriteOptions {
  /** The name of the file beside the model that has its weights, by which the model finds it. */
  externalData: string;
  /** Tensors of fewer bytes stay in the model. Default 1024. */
  externalFrom?: number;
}

/** A model in two files. */
export interface OnnxFiles {
  model: Uint8Array<ArrayBuffer>;
  /** The file that `externalData` named. */
  data: Uint8Array<ArrayBuffer>;
}

/** The oldest operator set that all of what is written has been in. */
const FIRST_OPSET = 11;

/**
 * Writes a graph as an ONNX file, as it was read (`readOnnx`, `readTflite`) or optimised: `loadOnnx` of it makes the same
 * optimised graph again, with weights in the same formats. NHWC images are written as ONNX has them, NCHW; what has a
 * standard form has that, in the oldest operator set that fits; the rest is in the domain `thinfer` (docs/onnx-domain.md).
 * @throws ThinferError `unsupported` naming every node that neither has a form for, `bad-weights` for weights that are
 * not sound
 */
export function writeOnnx(graph: Graph, options: WriteOptions = {}): Uint8Array<ArrayBuffer> {
  return fileOf(graph, options).bytes();
}

/** The same with the weights in a file beside the model, for models of more bytes than one protobuf can have (2 GB). */
export function writeOnnxFiles(graph: Graph, options: ExternalOptions): OnnxFiles {
  const { externalData: name, externalFrom: from = 1024 } = options;
  const external: External = { name, from, parts: [] };
  const model = fileOf(graph, options).bytes(external);
  const data = new Uint8Array(external.parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of external.parts) {
    data.set(part, at);
    at += part.length;
  }
  return { model, data };
}

function fileOf(graph: Graph, options: WriteOptions): OnnxFile {
  const layers = graph.nodes.filter(isLayer).map(({ name }) => name);
  for (let opset = FIRST_OPSET; ; ) {
    try {
      return attempt(graph, new OnnxFile(opset, layers), options);
    } catch (error) {
      if (!(error instanceof NeedsOpset)) throw error;
      opset = error.opset;
    }
  }
}

function attempt(graph: Graph, file: OnnxFile, options: WriteOptions): OnnxFile {
  const c = new Context(graph, file, options);
  const { INT64 } = TensorProto_DataType;
  // Outputs keep their names whatever else is called so.
  const inputs = graph.inputs.map(({ name, value }) => ({ name: file.unique(name), value }));
  for (const { name, value } of inputs) {
    const type =
      c.wantsIntegers.has(value) && c.values.ownType(value) === TensorProto_DataType.FLOAT
        ? INT64
        : c.values.ownType(value);
    file.input(name, c.values.shape(value), type);
    c.values.set(value, name, undefined, type);
  }
  const reserved = new Map(graph.outputs.map(({ name }) => [name, file.unique(name)]));
  const parts = partsOf(c, graph);
  const refused: string[] = [];
  // What reads a value of a node that was refused is not to blame itself.
  const lost = new Set<ValueId>();
  for (const node of graph.nodes) {
    if (node.inputs.some((id) => lost.has(id))) lost.add(node.output);
    if (parts.has(node) || lost.has(node.output)) continue;
    try {
      writeNode(c, node);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused.push(`node "${node.name}" (${node.op}): ${error.message}`);
      lost.add(node.output);
    }
  }
  if (refused.length > 0) {
    throw new ThinferError({
      code: 'unsupported',
      place: 'writeOnnx',
      expected: 'nodes that ONNX or the domain thinfer has a form for',
      got: refused.join('; '),
    });
  }
  for (const { name, value } of graph.outputs) writeOutput(c, name, reserved.get(name)!, value);
  return file;
}

function writeOutput(c: Context, name: string, free: string, value: number): void {
  const [type = c.values.ownType(value)] = c.values.types(value);
  const held = c.values.get(value, undefined, type);
  if (held !== name) {
    if (c.file.rename(held, name)) c.values.rename(held, name);
    else c.file.node('Identity', [held], name, {}, free);
  }
  c.file.output(name, c.values.shape(value), type);
}

/** Nodes that are written as part of another. */
function partsOf(c: Context, graph: Graph): Set<Node> {
  const parts = new Set<Node>();
  for (const node of graph.nodes) {
    if (isBinary(node) && isTruncation(c, node)) parts.add(c.producers.get(node.inputs[1])!);
    if (isBinary(node) && choiceOf(c, node)) for (const id of node.inputs) parts.add(c.producers.get(id)!);
    const before = node.op === 'resample' ? resampledBefore(c, node) : undefined;
    if (before) parts.add(before);
  }
  return parts;
}
