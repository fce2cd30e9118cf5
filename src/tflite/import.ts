import { describe, ThinferError } from '../errors.js';
import { GraphBuilder } from '../graph/builder.js';
import type { Constant, Graph, ValueId } from '../graph/ir.js';
import { sameCodes } from '../graph/lookup.js';
import { badModel, Unsupported } from '../graph/refuse.js';
import type { Quantization } from '../plan/problem.js';
import { product } from '../plan/strides.js';
import { readFile, type TfliteFile, type TfliteOperator, type TfliteTensor, typeName } from './file.js';
import { TensorType } from './generated/tflite_generated.js';
import type { Made, Operator, OperatorContext } from './operators/context.js';
import { OPERATORS } from './operators/index.js';
import { allElements, dequantize, FLOATS, INTEGERS, isQuantized } from './tensor.js';

/** Thrown when an operator reads what an unsupported one would have made: it is not to blame itself. */
class Lost extends Error {}

type Binding = { kind: 'value'; id: ValueId } | { kind: 'lost' };

/** What the codes of a tensor mean, or undefined where it has none. */
function codesOf(tensor: TfliteTensor): Quantization | undefined {
  if (!isQuantized(tensor)) return undefined;
  const { type, name, quantization } = tensor;
  const { scale, zeroPoint } = quantization!;
  if (type !== TensorType.INT8 && type !== TensorType.UINT8) {
    throw new Unsupported(`"${name}": activations of ${typeName(type)} (only INT8 and UINT8 have kernels)`);
  }
  if (scale.length !== 1) throw new Unsupported(`"${name}": activations with ${scale.length} scales`);
  const dtype = type === TensorType.INT8 ? 'int8' : 'uint8';
  const least = dtype === 'int8' ? -128 : 0;
  const [zero] = zeroPoint;
  if (!(scale[0] > 0 && scale[0] < Infinity) || zero < least || zero > least + 255) {
    badModel(
      `tensor "${name}".quantization`,
      `a scale above 0, a zero point in ${least}..${least + 255}`,
      `${scale[0]} and ${zero}`,
    );
  }
  return { dtype, scale: scale[0], zeroPoint: zero };
}

class Importer {
  readonly #file: TfliteFile;
  readonly #builder: GraphBuilder;
  readonly #bindings = new Map<number, Binding>();
  /** Constants by the number of their tensor: as codes, and as numbers. */
  readonly #codes = new Map<number, ValueId>();
  readonly #numbers = new Map<number, ValueId>();
  /** Numbers that codes stand for, by the codes. */
  readonly #dequantized = new Map<ValueId, ValueId>();
  /** Constants that operators only bring to another type or layout, by the number of the result. */
  readonly #sources = new Map<number, TfliteTensor>();
  readonly #unsupported: string[] = [];

  constructor(file: TfliteFile, fileBytes: number) {
    this.#file = file;
    this.#builder = new GraphBuilder(fileBytes);
  }

  read(): Graph {
    const { inputs, outputs, operators } = this.#file;
    if (outputs.length === 0) badModel('outputs', 'at least one', 'none');
    const inputNames = this.#names(inputs, 'input');
    for (const [i, index] of inputs.entries())
      this.#attempt(`input "${inputNames[i]}"`, [index], () => this.#readInput(inputNames[i], index));
    for (const [i, operator] of operators.entries()) this.#readOperator(operator, `operator ${i} (${operator.name})`);
    const names = this.#names(outputs, 'output');
    const found = outputs.map((index, i) => ({
      name: names[i],
      value: this.#attempt(`output "${names[i]}"`, [], () => this.#valueOf(index)) ?? -1,
    }));
    if (this.#unsupported.length > 0) {
      throw new ThinferError({
        code: 'unsupported',
        place: 'model',
        expected: 'operators, options and types that thinfer runs',
        got: this.#unsupported.join('; '),
        hint: 'docs/tflite.md lists what is supported.',
      });
    }
    const outputsOf = found.map(({ name, value }) => ({ name, value: this.#builder.asFloats(value) }));
    return this.#builder.finish(outputsOf);
  }

  /** Names of tensors, each once; those without get their number. */
  #names(indices: readonly number[], kind: string): string[] {
    const names = indices.map((index, i) => this.#file.tensors[index].name || `${kind}${i}`);
    return names.map((name, i) => (names.indexOf(name) === i ? name : `${name}#${i}`));
  }

  /** Collects what is unsupported; what then is missing is lost to those that would read it. */
  #attempt<T>(place: string, outputs: readonly number[], work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (error instanceof Unsupported) this.#unsupported.push(`${place}: ${error.message}`);
      else if (!(error instanceof Lost)) throw error;
      for (const index of outputs) this.#bindings.set(index, { kind: 'lost' });
      return undefined;
    }
  }

  #readInput(name: string, index: number): void {
    const tensor = this.#file.tensors[index];
    if (this.#bindings.has(index) || tensor.data)
      badModel(`input "${name}"`, 'a tensor without contents, once', 'another');
    const isInteger = INTEGERS.includes(tensor.type);
    if (!isInteger && !FLOATS.includes(tensor.type)) throw new Unsupported(`of type ${typeName(tensor.type)}`);
    const shape = (tensor.signature ?? tensor.shape).map((size, axis) => (size === -1 ? `${name}.${axis}` : size));
    const codes = codesOf(tensor);
    const id = this.#builder.addInput(name, shape, codes?.dtype ?? 'float32', isInteger && !codes);
    this.#bindings.set(index, { kind: 'value', id });
  }

  #readOperator(operator: TfliteOperator, place: string): void {
    for (const index of operator.outputs) {
      if (this.#bindings.has(index) || this.#file.tensors[index].data) {
        badModel(place, 'outputs that nothing else makes', `tensor ${index}`);
      }
    }
    this.#attempt(place, operator.outputs, () => {
      const made = this.#makeOutputs(operator, place);
      for (const [i, index] of operator.outputs.entries()) {
        if (made[i] === undefined) throw new Unsupported(`output ${i}`);
        this.#bindings.set(index, { kind: 'value', id: this.#placeOutput(made[i], index, place) });
      }
    });
  }

  #makeOutputs(operator: TfliteOperator, place: string): Made[] {
    if (!Object.hasOwn(OPERATORS, operator.name)) throw new Unsupported('unknown operator');
    const { inputs, outputs } = operator;
    const entry = OPERATORS[operator.name];
    const inputCount = inputs.findLastIndex((index) => index >= 0) + 1;
    const [least, most] = entry.inputs;
    if (inputCount < least || inputCount > most || inputs.slice(0, least).includes(-1) || outputs.length === 0) {
      badModel(
        place,
        `${least === most ? least : `${least} to ${most}`} inputs and an output`,
        `${inputCount} and ${outputs.length}`,
      );
    }
    const context = (codes: boolean) => this.#context(operator, inputCount, codes, place);
    const made = this.#readCodes(entry, operator, context) ?? entry.read(context(this.#movesCodes(entry, operator)));
    return Array.isArray(made) ? made : [made];
  }

  #readCodes(entry: Operator, { outputs }: TfliteOperator, context: (codes: boolean) => OperatorContext) {
    if (!entry.readCodes || !isQuantized(this.#file.tensors[outputs[0]])) return undefined;
    return entry.readCodes(context(true));
  }

  /** Whether an operator that moves elements has codes of one meaning only. */
  #movesCodes(entry: Operator, { inputs, outputs }: TfliteOperator): boolean {
    if (!entry.moves) return false;
    const { tensors } = this.#file;
    const codes = [...inputs.filter((index) => index >= 0), ...outputs]
      .map((index) => tensors[index])
      .filter(isQuantized)
      .map(codesOf);
    const outputsAre = outputs.every((index) => isQuantized(tensors[index]));
    return outputsAre && codes.every((other) => sameCodes(other!, codes[0]!));
  }

  /** An output as the file says: codes of what was made where it has a quantisation. */
  #placeOutput(made: Made, index: number, place: string): ValueId {
    const tensor = this.#file.tensors[index];
    const id = typeof made === 'number' ? made : this.#builder.addIntegers(tensor.name, made);
    const wanted = codesOf(tensor);
    const type = this.#builder.type(id);
    if (!wanted && type === 'float32') return id;
    if (!wanted) return badModel(place, `an output of ${typeName(tensor.type)}`, type);
    if (type === 'float32')
      return this.#builder.emit({ op: 'quantize', inputs: [id], quantization: wanted }, tensor.name, '', place);
    return id;
  }

  /** The value of a tensor as it is, and of a constant the numbers it stands for. */
  #valueOf(index: number): ValueId {
    const binding = this.#bindings.get(index);
    if (binding?.kind === 'lost') throw new Lost();
    return binding ? binding.id : this.#constantNumbers(index);
  }

  #tensorOf(index: number): TfliteTensor {
    return this.#sources.get(index) ?? this.#file.tensors[index];
  }

  #contents(index: number): { tensor: TfliteTensor; place: string; elements: ArrayLike<number> | ArrayLike<bigint> } {
    const tensor = this.#file.tensors[index];
    const place = `tensor ${index} ("${tensor.name.slice(0, 80)}")`;
    if (tensor.isVariable) throw new Unsupported(`"${tensor.name}", which keeps its contents from run to run`);
    if (!tensor.data && product(tensor.shape) > 0)
      badModel(place, 'contents, or an operator before that makes it', 'neither');
    const elements = allElements(tensor, place, (count, at) => this.#builder.claim(count, at));
    return { tensor, place, elements };
  }

  /** A constant as numbers: f32, or integers that are not codes. */
  #constantNumbers(index: number): ValueId {
    const known = this.#numbers.get(index);
    if (known !== undefined) return known;
    const { tensor, place, elements } = this.#contents(index);
    const { name, shape: dims, quantization } = tensor;
    let id: ValueId;
    if (FLOATS.includes(tensor.type)) {
      const data = elements instanceof Float32Array ? elements : Float32Array.from(elements as ArrayLike<number>);
      id = this.#builder.addConstant(name, { dims, data });
    } else if (isQuantized(tensor)) {
      const data = dequantize(elements as ArrayLike<number>, dims, quantization!, place);
      id = this.#builder.addConstant(name, { dims, data });
    } else {
      const limit = Number.MAX_SAFE_INTEGER;
      const data = Array.from(elements as ArrayLike<number | bigint>, (x) => {
        if (x > limit || x < -limit) badModel(place, `integers up to ${limit}`, String(x));
        return Number(x);
      });
      id = this.#builder.addIntegers(name, { kind: 'integers', dims, data });
    }
    this.#numbers.set(index, id);
    return id;
  }

  #constantCodes(index: number, { dtype }: Quantization): ValueId {
    const known = this.#codes.get(index);
    if (known !== undefined) return known;
    const { tensor, elements } = this.#contents(index);
    const constant: Constant = { dims: tensor.shape, data: Float32Array.from(elements as ArrayLike<number>) };
    const id = this.#builder.addConstant(tensor.name, constant, dtype);
    this.#codes.set(index, id);
    return id;
  }

  /** A value as codes, or as the numbers that they stand for. */
  #read(index: number, codes: boolean, place: string): ValueId {
    const tensor = this.#file.tensors[index];
    const isConstant = !this.#bindings.has(index);
    if (isConstant && codes && isQuantized(tensor)) return this.#constantCodes(index, codesOf(tensor)!);
    const id = this.#valueOf(index);
    if (codes || this.#builder.type(id) === 'float32') return id;
    const known = this.#dequantized.get(id);
    if (known !== undefined) return known;
    const { scale, zeroPoint } = codesOf(tensor)!;
    const made = this.#builder.emit(
      { op: 'dequantize', inputs: [id], scale, zeroPoint },
      `${tensor.name}.numbers`,
      '',
      place,
    );
    this.#dequantized.set(id, made);
    return made;
  }

  #context(operator: TfliteOperator, inputCount: number, codes: boolean, place: string): OperatorContext {
    const builder = this.#builder;
    const { inputs, outputs, table } = operator;
    const name = this.#file.tensors[outputs[0]].name || place;
    const indexOf = (input: number): number => {
      if (input >= inputCount || inputs[input] < 0) badModel(place, `input ${input}`, 'none');
      return inputs[input];
    };
    const value = (input: number) => this.#read(indexOf(input), codes, place);
    const constantOf = (id: ValueId) => builder.constants.get(builder.integers.has(id) ? builder.asFloats(id) : id);
    const dims = (input: number, what: string) => {
      const integers = builder.integers.get(value(input));
      if (integers) return integers.data;
      if (constantOf(value(input))) badModel(`${place}: ${what}`, 'integers', 'floats');
      throw new Unsupported(`${what} that is not constant`);
    };
    return {
      inputCount,
      outputCount: outputs.length,
      has: (input) => input < inputCount && inputs[input] >= 0,
      value,
      valueIsCodes: (input) => builder.type(value(input)) !== 'float32',
      isConstant: (input) => {
        const id = value(input);
        return builder.integers.get(id) !== undefined || constantOf(id) !== undefined;
      },
      constant: (input, what) => {
        const constant = constantOf(value(input));
        if (!constant) throw new Unsupported(`${what} that is not constant`);
        return constant;
      },
      integers: (input, what) =>
        dims(input, what).map((dim) => {
          if (typeof dim === 'number') return dim;
          throw new Unsupported(`${what} with the open dimension ${dim}`);
        }),
      dims,
      isInteger: (input) => builder.integers.get(value(input)) !== undefined,
      holdsIntegers: (id) => builder.integral.has(id),
      markIntegers: (id) => builder.markIntegers(id),
      tensor: (input) => this.#tensorOf(indexOf(input)),
      keep: (input) => {
        this.#sources.set(outputs[0], this.#tensorOf(indexOf(input)));
      },
      output: (output = 0) => this.#file.tensors[outputs[output]],
      codesOf,
      shape: (id) => builder.shape(id),
      emit: (node) => builder.emit(node, name, '', place),
      addConstant: (constant, dtype) => builder.addConstant(name, constant, dtype),
      addScalar: (number, like = -1) => builder.addScalar(name, number, like),
      addCode: (code, dtype) => builder.addConstant(name, { dims: [], data: Float32Array.of(code) }, dtype),
      options: (type, into) =>
        table.builtinOptionsType() === type ? (table.builtinOptions(into) ?? undefined) : undefined,
      claim: (count) => builder.claim(count, place),
      bad: (what, expected, got) => badModel(`${place}: ${what}`, expected, got),
    };
  }
}

/**
 * Reads a TensorFlow Lite model into a graph, as the model has it: nothing is optimised.
 * @throws ThinferError `bad-model` naming the place for a file that is corrupt or contradicts itself; `unsupported`
 * naming every operator, option and type that thinfer does not run
 */
export function readTflite(bytes: Uint8Array | ArrayBuffer): Graph {
  const view = bytes instanceof Uint8Array ? bytes : bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : undefined;
  if (!view) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'readTflite: bytes',
      expected: 'a Uint8Array or ArrayBuffer',
      got: describe(bytes),
    });
  }
  return new Importer(readFile(view), view.length).read();
}
