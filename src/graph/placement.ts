// Which nodes of a graph run on which of two devices: side 0 shares the caller's memory, side 1 has its own.

/** A value that nodes read, and what it takes to bring it to the other side. */
export interface PlacedValue {
  /** The node that writes it; undefined: the caller does. */
  producer: number | undefined;
  /** Where the caller's values are. Default 0. */
  home?: Side;
  consumers: readonly number[];
  /** Where the caller wants it, if anywhere. */
  output?: Side;
  /** Milliseconds from side 0 to side 1, and back. */
  movesMs: readonly [there: number, back: number];
}

export type Side = 0 | 1;

export interface PlacementProblem {
  /** Milliseconds of each node on either side; infinite where it can't run. */
  nodes: readonly (readonly [number, number])[];
  values: readonly PlacedValue[];
}

/** What a placement costs: nodes where they run, and each value once for the other side if anybody there wants it. */
export function placementMs({ nodes, values }: PlacementProblem, sides: readonly Side[]): number {
  let ms = nodes.reduce((sum, costs, i) => sum + costs[sides[i]], 0);
  for (const value of values) {
    const at = value.producer === undefined ? (value.home ?? 0) : sides[value.producer];
    const { consumers, output = at } = value;
    const wanted = output !== at || consumers.some((node) => sides[node] !== at);
    if (wanted) ms += value.movesMs[at];
  }
  return ms;
}

/** Stands for "never": above the milliseconds of any graph, and small enough to be added up. */
const NEVER = 1e12;

/**
 * The placement that takes least, exactly, for any graph: a minimal cut (Stone 1977, Multiprocessor scheduling with the
 * aid of network flow algorithms). Cutting a node from side 1 costs its time on side 0 and the other way round; a value
 * has an auxiliary vertex a direction, which its consumers pull to their side, so that it is paid for once.
 * Passes that alternate between the devices are submitted one by one; what that costs is part of the moves.
 * @returns the side of each node; undefined when some node runs on neither
 */
export function placeNodes({ nodes, values }: PlacementProblem): Side[] | undefined {
  if (nodes.some(([here, there]) => here === Number.POSITIVE_INFINITY && there === Number.POSITIVE_INFINITY)) {
    return undefined;
  }
  const network = new FlowNetwork(nodes.length + 2 * values.length + 2);
  const source = nodes.length + 2 * values.length;
  const sink = source + 1;
  for (const [i, [here, there]] of nodes.entries()) {
    network.connect(source, i, Math.min(there, NEVER));
    network.connect(i, sink, Math.min(here, NEVER));
  }
  for (const [i, { producer, home = 0, consumers, output, movesMs }] of values.entries()) {
    const from = producer ?? (home === 0 ? source : sink);
    const there = nodes.length + 2 * i;
    const back = there + 1;
    network.connect(from, there, movesMs[0]);
    network.connect(back, from, movesMs[1]);
    for (const consumer of consumers) {
      network.connect(there, consumer, NEVER * 10);
      network.connect(consumer, back, NEVER * 10);
    }
    if (output === 0) network.connect(source, back, NEVER * 10);
    if (output === 1) network.connect(there, sink, NEVER * 10);
  }
  const reached = network.cut(source, sink);
  return nodes.map((_, i): Side => (reached[i] ? 0 : 1));
}

/** Flow below this is rounding. */
const LEAST = 1e-12;

/** Maximal flow by shortest augmenting paths in layers (Dinic 1970). */
class FlowNetwork {
  readonly #edgesOf: number[][];
  readonly #to: number[] = [];
  /** What an edge can still take; edge i ^ 1 is its way back. */
  readonly #room: number[] = [];

  constructor(vertices: number) {
    this.#edgesOf = Array.from({ length: vertices }, () => []);
  }

  connect(from: number, to: number, capacity: number): void {
    this.#edgesOf[from].push(this.#to.length);
    this.#edgesOf[to].push(this.#to.length + 1);
    this.#to.push(to, from);
    this.#room.push(capacity, 0);
  }

  /** The vertices on the source's side of a minimal cut. */
  cut(source: number, sink: number): boolean[] {
    for (;;) {
      const level = this.#levels(source);
      if (level[sink] < 0) return level.map((depth) => depth >= 0);
      const next = new Array<number>(level.length).fill(0);
      while (this.#augment(source, sink, level, next)) {}
    }
  }

  /** Distance from the source along edges with room; -1 where none leads. */
  #levels(source: number): number[] {
    const level = new Array<number>(this.#edgesOf.length).fill(-1);
    level[source] = 0;
    const queue = [source];
    for (const vertex of queue) {
      for (const edge of this.#edgesOf[vertex]) {
        const to = this.#to[edge];
        if (level[to] >= 0 || this.#room[edge] <= LEAST) continue;
        level[to] = level[vertex] + 1;
        queue.push(to);
      }
    }
    return level;
  }

  /** Sends flow along one path of the layered network; false when there is none. Deep graphs forbid recursion. */
  #augment(source: number, sink: number, level: readonly number[], next: number[]): boolean {
    const path: number[] = [];
    for (let vertex = source; vertex !== sink; ) {
      const edges = this.#edgesOf[vertex];
      const edge = edges[next[vertex]];
      if (edge === undefined) {
        // A dead end: back, and not this way again.
        const last = path.pop();
        if (last === undefined) return false;
        vertex = this.#to[last ^ 1];
        next[vertex]++;
      } else if (this.#room[edge] > LEAST && level[this.#to[edge]] === level[vertex] + 1) {
        path.push(edge);
        vertex = this.#to[edge];
      } else {
        next[vertex]++;
      }
    }
    const flow = Math.min(...path.map((edge) => this.#room[edge]));
    for (const edge of path) {
      this.#room[edge] -= flow;
      this.#room[edge ^ 1] += flow;
    }
    return true;
  }
}
