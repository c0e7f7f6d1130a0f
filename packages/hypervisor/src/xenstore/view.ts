// Operations on a tree, the store's own or a transaction's: check everything first, then apply, so nothing is undone.
import type { XsErrorName } from '../io/xs-wire.ts';
import { type Ledger, nodeSizeBytes, PERMISSION_BYTES } from './ledger.ts';
import {
  accessOf,
  type Caller,
  inheritPermissions,
  ownerOf,
  PERM_OWNER,
  PERM_WRITE,
  type Permissions,
} from './permissions.ts';
import { type StoreNode, type Tree, walk } from './tree.ts';

/** A change that watchers may have to hear of. */
export interface Change {
  /** The node. */
  readonly path: readonly string[];
  /** Its permissions before, if it was there. */
  readonly before: Permissions | undefined;
  /** Its parent's permissions before. */
  readonly parentBefore: Permissions | undefined;
  /** The subtree that was cut off here, if any. */
  readonly removed: Readonly<StoreNode> | undefined;
}

/** What a caller may still use: the quotas as they concern one operation, asked before anything is changed. */
export interface Allowance {
  /** Whether `domid` may own `nodes` more nodes. */
  mayOwnNodes(domid: number, nodes: number): boolean;
  /** Whether `domid` may hold `bytes` more. */
  mayHoldBytes(domid: number, bytes: number): boolean;
  /** Most bytes of one node. */
  readonly nodeBytes: number;
}

/** Notes which nodes an operation depends on and which it changes; `false` or ENOSPC ends the operation. */
export interface Recorder {
  /** The operation depends on this node (undefined: on its absence). @returns false: too many nodes */
  touch(path: readonly string[], count: number, node: Readonly<StoreNode> | undefined): boolean;
  /** The operation has changed this node. `reach`: who hears of it. */
  changed(path: readonly string[], count: number, reach: 'covering' | 'exact' | 'nobody'): void;
}

/** An outcome: the change (none if there was nothing to do) or the error. */
export type Outcome = { readonly change: Change | undefined } | XsErrorName;

/** One tree with its accounts. */
export class View {
  /** The nodes. */
  readonly tree: Tree;
  /** Who owns how many of them. */
  readonly ledger: Ledger;
  private readonly nextGeneration: () => number;
  private readonly recorder: Recorder | undefined;

  /** `recorder` is given for a transaction. */
  constructor(tree: Tree, ledger: Ledger, nextGeneration: () => number, recorder?: Recorder) {
    this.tree = tree;
    this.ledger = ledger;
    this.nextGeneration = nextGeneration;
    this.recorder = recorder;
  }

  /**
   * Find a node for a caller who needs `access`. Existence does not leak: what is not there is EACCES, too, unless the
   * nearest ancestor that is there grants the caller what was asked for.
   */
  lookup(path: readonly string[], caller: Caller, access: number): Readonly<StoreNode> | XsErrorName {
    const depth = this.tree.existingDepth(path);
    const nearest = this.tree.find(path, depth);
    if (!nearest) return 'EIO'; // the root is always there
    if (this.recorder) {
      if (!this.recorder.touch(path, depth, nearest)) return 'ENOSPC';
      if (depth < path.length && !this.recorder.touch(path, path.length, undefined)) return 'ENOSPC';
    }
    const has = (accessOf(nearest.permissions, caller) & access) === access;
    if (depth === path.length) return has ? nearest : 'EACCES';
    return has ? 'ENOENT' : 'EACCES';
  }

  /** Set a value, creating the node and its ancestors if needed. */
  write(path: readonly string[], value: string, caller: Caller, allowance: Allowance): Outcome {
    const node = this.lookup(path, caller, PERM_WRITE);
    if (node === 'ENOENT') return this.create(path, value, caller, allowance);
    if (typeof node === 'string') return node;
    const more = value.length - node.value.length;
    const owner = ownerOf(node.permissions);
    if (!caller.isPrivileged) {
      const size = nodeSizeBytes(value.length, node.childNameBytes, node.permissions);
      if (more > 0 && size > allowance.nodeBytes) return 'ENOSPC';
      if (more > 0 && !allowance.mayHoldBytes(owner, more)) return 'ENOMEM';
    }
    const change = this.describe(path, node.permissions);
    this.tree.update(path, value, node.permissions, this.nextGeneration());
    this.ledger.add(owner, 0, more);
    this.recorder?.changed(path, path.length, 'covering');
    return { change };
  }

  /** Create an empty node; an existing one is left alone. */
  makeDirectory(path: readonly string[], caller: Caller, allowance: Allowance): Outcome {
    const node = this.lookup(path, caller, PERM_WRITE);
    if (node === 'ENOENT') return this.create(path, '', caller, allowance);
    return typeof node === 'string' ? node : { change: undefined };
  }

  /** Remove a node and all below it. */
  remove(path: readonly string[], caller: Caller): Outcome {
    const node = this.lookup(path, caller, PERM_WRITE);
    if (node === 'ENOENT') {
      return this.tree.existingDepth(path) === path.length - 1 ? { change: undefined } : 'ENOENT';
    }
    if (typeof node === 'string') return node;
    if (path.length === 0) return 'EINVAL';
    if (this.recorder && !this.touchAll(this.recorder, path, node)) return 'ENOSPC';
    return { change: this.cut(path, node) };
  }

  /** Remove an existing node other than the root, no questions asked. */
  cut(path: readonly string[], node: Readonly<StoreNode>): Change {
    const change = { ...this.describe(path, node.permissions), removed: node };
    this.tree.remove(path, this.nextGeneration());
    walk(node, path, (below, at) => {
      this.ledger.node(-1, at[at.length - 1] ?? '', below);
      this.recorder?.changed(at, at.length, below === node ? 'covering' : 'exact');
      return true;
    });
    return change;
  }

  /** Replace a node's permissions; only a privileged caller may change the owner. */
  setPermissions(path: readonly string[], permissions: Permissions, caller: Caller, allowance: Allowance): Outcome {
    const node = this.lookup(path, caller, PERM_OWNER);
    if (typeof node === 'string') return node;
    const more = PERMISSION_BYTES * (permissions.length - node.permissions.length);
    const owner = ownerOf(node.permissions);
    if (!caller.isPrivileged) {
      if (ownerOf(permissions) !== owner) return 'EPERM';
      const size = nodeSizeBytes(node.value.length, node.childNameBytes, permissions);
      if (more > 0 && size > allowance.nodeBytes) return 'ENOSPC';
      if (more > 0 && !allowance.mayHoldBytes(owner, more)) return 'ENOMEM';
    }
    const change = this.describe(path, node.permissions);
    this.replace(path, node, node.value, permissions);
    this.recorder?.changed(path, path.length, 'covering');
    return { change };
  }

  /** Give an existing node another value and list, and move the accounts, no questions asked. */
  replace(path: readonly string[], node: Readonly<StoreNode>, value: string, permissions: Permissions): void {
    const name = path[path.length - 1] ?? '';
    this.ledger.node(-1, name, node);
    this.ledger.node(1, name, { value, permissions });
    this.tree.update(path, value, permissions, this.nextGeneration());
  }

  /** Add one node below an existing parent, no questions asked. */
  add(path: readonly string[], value: string, permissions: Permissions): void {
    this.tree.create(path, path.length - 1, value, permissions, this.nextGeneration());
    this.ledger.node(1, path[path.length - 1] ?? '', { value, permissions });
  }

  /** What watchers will need to know of a change at `path`. */
  describe(path: readonly string[], before: Permissions | undefined): Change {
    const parent = path.length > 0 ? this.tree.find(path, path.length - 1) : undefined;
    return { path, before, parentBefore: parent?.permissions, removed: undefined };
  }

  private create(path: readonly string[], value: string, caller: Caller, allowance: Allowance): Outcome {
    const depth = this.tree.existingDepth(path);
    const parent = this.tree.find(path, depth);
    if (!parent) return 'EIO';
    const permissions = inheritPermissions(parent.permissions, caller);
    if (!caller.isPrivileged) {
      const error = checkCreation(path, depth, value, parent, permissions, allowance);
      if (error) return error;
    }
    for (let count = depth + 1; this.recorder && count < path.length; count++) {
      if (!this.recorder.touch(path, count, undefined)) return 'ENOSPC';
    }
    const change = this.describe(path, undefined);
    this.tree.create(path, depth, value, permissions, this.nextGeneration());
    for (let i = depth; i < path.length; i++) {
      const isLast = i === path.length - 1;
      this.ledger.node(1, path[i] ?? '', { value: isLast ? value : '', permissions });
      this.recorder?.changed(path, i + 1, isLast ? 'covering' : 'nobody');
    }
    return { change };
  }

  private touchAll(recorder: Recorder, path: readonly string[], node: Readonly<StoreNode>): boolean {
    let isAllowed = recorder.touch(path, path.length - 1, this.tree.find(path, path.length - 1));
    walk(node, path, (below, at) => {
      isAllowed &&= recorder.touch(at, at.length, below);
      return isAllowed;
    });
    return isAllowed;
  }
}

function checkCreation(
  path: readonly string[],
  depth: number,
  value: string,
  parent: Readonly<StoreNode>,
  permissions: Permissions,
  allowance: Allowance,
): XsErrorName | undefined {
  const owner = ownerOf(permissions);
  const nameBytes = (path[depth] ?? '').length + 1;
  if (!allowance.mayOwnNodes(owner, path.length - depth)) return 'ENOSPC';
  const parentSize = nodeSizeBytes(parent.value.length, parent.childNameBytes + nameBytes, parent.permissions);
  if (parentSize > allowance.nodeBytes) return 'ENOSPC';
  let bytes = value.length;
  for (let i = depth; i < path.length; i++) {
    const below = (path[i + 1] ?? '').length + 1;
    const isLast = i === path.length - 1;
    const size = nodeSizeBytes(isLast ? value.length : 0, isLast ? 0 : below, permissions);
    if (size > allowance.nodeBytes) return 'ENOSPC';
    bytes += (path[i] ?? '').length + 1 + PERMISSION_BYTES * permissions.length;
  }
  return allowance.mayHoldBytes(owner, bytes) ? undefined : 'ENOMEM';
}
