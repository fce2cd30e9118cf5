import { type AttributeProto, AttributeProto_AttributeType as Type } from './generated/onnx_pb.js';
import { badModel, toInteger } from './tensor.js';

const decoder = new TextDecoder();

/** The attributes of one node, read with their types and ranges checked. */
export class Attributes {
  readonly #place: string;
  readonly #attributes = new Map<string, AttributeProto>();

  /** @throws ThinferError `bad-model` for an attribute without a name or given twice */
  constructor(attributes: readonly AttributeProto[], place: string) {
    this.#place = place;
    for (const attribute of attributes) {
      if (attribute.name === '' || this.#attributes.has(attribute.name)) {
        badModel(place, 'attributes with a name each, once', JSON.stringify(attribute.name));
      }
      this.#attributes.set(attribute.name, attribute);
    }
  }

  get names(): string[] {
    return [...this.#attributes.keys()];
  }

  has(name: string): boolean {
    return this.#attributes.has(name);
  }

  /** The attribute, if its type is one of `types` or missing (IR version 1 did not have it). */
  #find(name: string, ...types: Type[]): AttributeProto | undefined {
    const attribute = this.#attributes.get(name);
    if (attribute && attribute.type !== Type.UNDEFINED && !types.includes(attribute.type)) {
      const expected = types.map((type) => Type[type]).join(' or ');
      badModel(this.#at(name), expected, Type[attribute.type] ?? String(attribute.type));
    }
    return attribute;
  }

  #at(name: string): string {
    return `${this.#place}.${name}`;
  }

  int(name: string, fallback: number, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): number {
    const attribute = this.#find(name, Type.INT);
    return attribute ? toInteger(attribute.i, this.#at(name), min, max) : fallback;
  }

  /** @param count how many there must be; any number when undefined */
  ints(name: string, count: number | undefined, min: number, max: number): number[] | undefined {
    const attribute = this.#find(name, Type.INTS);
    if (!attribute) return undefined;
    if (count !== undefined && attribute.ints.length !== count) {
      badModel(this.#at(name), `${count} integers`, String(attribute.ints.length));
    }
    return attribute.ints.map((value, i) => toInteger(value, `${this.#at(name)}[${i}]`, min, max));
  }

  /** Never NaN. */
  float(name: string, fallback: number): number {
    const value = this.#find(name, Type.FLOAT)?.f ?? fallback;
    if (Number.isNaN(value)) badModel(this.#at(name), 'a number', 'NaN');
    return value;
  }

  floats(name: string): number[] | undefined {
    return this.#find(name, Type.FLOATS)?.floats;
  }

  strings(name: string): string[] | undefined {
    return this.#find(name, Type.STRINGS)?.strings.map((text) => decoder.decode(text));
  }

  string(name: string, fallback: string): string {
    const attribute = this.#find(name, Type.STRING);
    return attribute ? decoder.decode(attribute.s) : fallback;
  }

  /** The attribute as it is in the file, for constants. */
  raw(name: string, type: keyof typeof Type): AttributeProto | undefined {
    return this.#find(name, Type[type]);
  }
}
