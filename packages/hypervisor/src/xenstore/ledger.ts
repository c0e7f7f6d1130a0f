// Who owns how much of the store: exact counts, changed only together with the tree.
import { ownerOf, type Permissions } from './permissions.ts';
import type { StoreNode } from './tree.ts';

/** Bytes that one permission entry counts. */
export const PERMISSION_BYTES = 8;

/** Bytes of a node that count against the quota of a single node: value, children's names, permissions. */
export function nodeSizeBytes(valueBytes: number, childNameBytes: number, permissions: Permissions): number {
  return valueBytes + childNameBytes + PERMISSION_BYTES * permissions.length;
}

/** What one domain owns. */
export interface Holdings {
  /** Nodes. */
  nodes: number;
  /** Bytes of these nodes: value, own name, permissions. */
  nodeBytes: number;
}

/** Holdings by domain. In a transaction: the difference to the store. Entries of nothing are not kept. */
export class Ledger {
  private readonly byDomain = new Map<number, Holdings>();

  /** What `domid` owns. */
  of(domid: number): Readonly<Holdings> {
    return this.byDomain.get(domid) ?? NOTHING;
  }

  /** Domains that own anything. */
  domains(): IterableIterator<number> {
    return this.byDomain.keys();
  }

  /** Count `nodes` more (or fewer) nodes of `bytes` more (or fewer) bytes. */
  add(domid: number, nodes: number, bytes: number): void {
    const now = this.of(domid);
    const next = { nodes: now.nodes + nodes, nodeBytes: now.nodeBytes + bytes };
    if (next.nodes === 0 && next.nodeBytes === 0) this.byDomain.delete(domid);
    else this.byDomain.set(domid, next);
  }

  /** Count a node in (`sign` 1) or out (−1). */
  node(sign: 1 | -1, name: string, node: Pick<StoreNode, 'value' | 'permissions'>): void {
    const bytes = node.value.length + name.length + 1 + PERMISSION_BYTES * node.permissions.length;
    this.add(ownerOf(node.permissions), sign, sign * bytes);
  }
}

const NOTHING: Holdings = { nodes: 0, nodeBytes: 0 };
