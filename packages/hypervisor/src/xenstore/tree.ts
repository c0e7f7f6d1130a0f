// The tree of nodes, with O(1) snapshots: a node written since the last snapshot is changed in place, others are copied.
import type { Permissions } from './permissions.ts';

/** One node. Only the tree that stamped `epoch` may change it. */
export interface StoreNode {
  /** Bytes as latin1 text. */
  value: string;
  /** Never changed in place. */
  permissions: Permissions;
  /** Number of the last change of value, permissions or list of children; unique in the store's life. */
  generation: number;
  /** Children by name, oldest first. */
  children: Map<string, StoreNode>;
  /** Bytes that the children's names take, a NUL each. */
  childNameBytes: number;
  /** Which tree may change this node in place. */
  epoch: number;
}

let lastEpoch = 0;

/** A tree of nodes that can be forked; forks share what neither has changed since. All paths are component lists. */
export class Tree {
  private root: StoreNode;
  private epoch: number;

  private constructor(root: StoreNode, epoch: number) {
    this.root = root;
    this.epoch = epoch;
  }

  /** A tree of only a root. */
  static create(permissions: Permissions): Tree {
    const epoch = ++lastEpoch;
    const root = { value: '', permissions, generation: 0, children: new Map(), childNameBytes: 0, epoch };
    return new Tree(root, epoch);
  }

  /** A snapshot that can be changed on its own. O(1). */
  fork(): Tree {
    this.epoch = ++lastEpoch;
    return new Tree(this.root, ++lastEpoch);
  }

  /** The node at the first `count` components, if there is one. Not to be changed. */
  find(path: readonly string[], count = path.length): Readonly<StoreNode> | undefined {
    let node: StoreNode | undefined = this.root;
    for (let i = 0; i < count && node; i++) node = node.children.get(path[i] ?? '');
    return node;
  }

  /** How many components of `path` lead to existing nodes: 0 is the root, `path.length` the node itself. */
  existingDepth(path: readonly string[]): number {
    let node = this.root;
    for (let i = 0; i < path.length; i++) {
      const child = node.children.get(path[i] ?? '');
      if (!child) return i;
      node = child;
    }
    return path.length;
  }

  /** Set value and permissions of an existing node. */
  update(path: readonly string[], value: string, permissions: Permissions, generation: number): void {
    const node = this.writable(path, path.length);
    node.value = value;
    node.permissions = permissions;
    node.generation = generation;
  }

  /**
   * Add the missing nodes of `path` below its first `depth` components, which exist: the last one with `value`, those
   * between empty, all with the same permissions and generation, which their parent gets as well.
   */
  create(path: readonly string[], depth: number, value: string, permissions: Permissions, generation: number): void {
    const parent = this.writable(path, depth);
    const epoch = this.epoch;
    let node: StoreNode = { value, permissions, generation, children: new Map(), childNameBytes: 0, epoch };
    for (let i = path.length - 1; i > depth; i--) {
      const name = path[i] ?? '';
      const children = new Map([[name, node]]);
      node = { value: '', permissions, generation, children, childNameBytes: name.length + 1, epoch };
    }
    const name = path[depth] ?? '';
    parent.children.set(name, node);
    parent.childNameBytes += name.length + 1;
    parent.generation = generation;
  }

  /** Cut off an existing node other than the root. @returns what was cut off, intact */
  remove(path: readonly string[], generation: number): Readonly<StoreNode> | undefined {
    const parent = this.writable(path, path.length - 1);
    const name = path[path.length - 1] ?? '';
    const node = parent.children.get(name);
    if (!node) return undefined;
    parent.children.delete(name);
    parent.childNameBytes -= name.length + 1;
    parent.generation = generation;
    return node;
  }

  /** The node at the first `count` components, copied together with its ancestors where a fork still needs the old. */
  private writable(path: readonly string[], count: number): StoreNode {
    if (this.root.epoch !== this.epoch) this.root = copyNode(this.root, this.epoch);
    let node = this.root;
    for (let i = 0; i < count; i++) {
      const name = path[i] ?? '';
      let child = node.children.get(name);
      if (!child) throw new RangeError(`no node ${path.slice(0, i + 1).join('/')}`);
      if (child.epoch !== this.epoch) {
        child = copyNode(child, this.epoch);
        node.children.set(name, child);
      }
      node = child;
    }
    return node;
  }
}

function copyNode(node: StoreNode, epoch: number): StoreNode {
  return { ...node, children: new Map(node.children), epoch };
}

/**
 * Visit a node and everything below it, parents first, without recursion (XSA-418).
 * `visit` answers whether to go on below the node.
 */
export function walk(
  node: Readonly<StoreNode>,
  path: readonly string[],
  visit: (node: Readonly<StoreNode>, path: readonly string[]) => boolean,
): void {
  const nodes = [node];
  const paths = [path];
  for (;;) {
    const next = nodes.pop();
    const at = paths.pop();
    if (!next || !at) return;
    if (!visit(next, at)) continue;
    for (const [name, child] of next.children) {
      nodes.push(child);
      paths.push([...at, name]);
    }
  }
}
