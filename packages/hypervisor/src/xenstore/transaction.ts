// A transaction: a snapshot to work on, and what it touched, which decides whether it can be committed.
import { Ledger } from './ledger.ts';
import { joinPath } from './path.ts';
import type { StoreNode, Tree } from './tree.ts';
import { type Change, type Recorder, View } from './view.ts';

/** Generation recorded for a node that was not there. */
const ABSENT = -1;
/** Bytes counted for each node touched, besides its path. */
const TOUCH_BYTES = 64;

/** A node as it was when the transaction first touched it. */
interface Touched {
  readonly path: readonly string[];
  readonly generation: number;
}

/** One open transaction. */
export class Transaction implements Recorder {
  /** The snapshot, with the transaction's own changes. */
  readonly view: View;
  /** Bytes of memory that its records take. */
  recordBytes = 0;
  /** An operation exceeded the limit of nodes: it can only be given up. */
  hasFailed = false;
  /** A domain that its nodes name has gone since: it conflicts. */
  isDoomed = false;
  private readonly limitNodes: number;
  private readonly touched = new Map<string, Touched>();
  private readonly changes = new Map<string, { path: readonly string[]; reach: 'covering' | 'exact' | 'nobody' }>();

  constructor(base: Tree, nextGeneration: () => number, limitNodes: number) {
    this.limitNodes = limitNodes;
    this.view = new View(base.fork(), new Ledger(), nextGeneration, this);
  }

  touch(path: readonly string[], count: number, node: Readonly<StoreNode> | undefined): boolean {
    const text = joinPath(path, count);
    if (this.touched.has(text)) return true;
    if (this.touched.size >= this.limitNodes) {
      this.hasFailed = true;
      return false;
    }
    this.touched.set(text, { path: path.slice(0, count), generation: node?.generation ?? ABSENT });
    this.recordBytes += text.length + TOUCH_BYTES;
    return true;
  }

  changed(path: readonly string[], count: number, reach: 'covering' | 'exact' | 'nobody'): void {
    const text = joinPath(path, count);
    const known = this.changes.get(text);
    if (!known) this.changes.set(text, { path: path.slice(0, count), reach });
    else if (reach === 'covering' || known.reach === 'nobody') known.reach = reach;
  }

  /** Whether it has touched a node, or its parent, whose list of children may have changed with it. */
  hasTouched(path: readonly string[]): boolean {
    return this.touched.has(joinPath(path)) || this.touched.has(joinPath(path, Math.max(0, path.length - 1)));
  }

  /** Whether a touched node is not as it was. */
  conflictsWith(main: Tree): boolean {
    if (this.isDoomed) return true;
    for (const { path, generation } of this.touched.values()) {
      if ((main.find(path)?.generation ?? ABSENT) !== generation) return true;
    }
    return false;
  }

  /** Whether a node that it changed has `domid` in its permissions. */
  mentions(domid: number): boolean {
    for (const { path } of this.changes.values()) {
      const node = this.view.tree.find(path);
      if (node?.permissions.some((entry) => entry.domid === domid)) return true;
    }
    return false;
  }

  /** Carry the changes over to the store, which holds no conflict. @returns what watchers may hear of, in order */
  applyTo(main: View): { change: Change; isExact: boolean }[] {
    const heard: { change: Change; isExact: boolean }[] = [];
    for (const { path, reach } of this.changes.values()) {
      const change = applyOne(this.view, main, path);
      if (change && reach !== 'nobody') heard.push({ change, isExact: reach === 'exact' });
    }
    return heard;
  }
}

function applyOne(from: View, main: View, path: readonly string[]): Change | undefined {
  const mine = from.tree.find(path);
  const theirs = main.tree.find(path);
  if (!mine) return theirs && main.cut(path, theirs);
  const change = main.describe(path, theirs?.permissions);
  if (theirs) main.replace(path, theirs, mine.value, mine.permissions);
  else main.add(path, mine.value, mine.permissions);
  return change;
}
